"""`[engine] kind` and `--engine` select an engine, of another package too; a wrong name is one error before a study exists."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import write_study

from broodline.cli import main
from broodline.registry import ENGINES

ENGINE = """\
from pathlib import Path
from broodline.workers.engines.local import LocalLauncher

def noted(*, job, cwd, threads):
    Path(cwd, "noted").touch()
    return LocalLauncher(job=job, cwd=cwd, threads=threads)
"""


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installs the engine `noted`, which leaves a file where workers run, and the engine `broken`, which can't be imported."""
    folder = tmp_path / "plugins"
    metadata = folder / "engines_of_others-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: engines-of-others\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[broodline.engines]\nnoted = noted_engine:noted\nbroken = engine_without_library:Launcher\n"
    )
    (folder / "noted_engine.py").write_text(ENGINE)
    (folder / "engine_without_library.py").write_text("import a_library_that_is_not_installed\n")
    monkeypatch.syspath_prepend(str(folder))
    assert {"noted", "broken", "local"} <= set(ENGINES.names())


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize(
    ("table", "flags", "used"),
    [
        ("", [], False),
        ('[engine]\nkind = "noted"\n', [], True),
        ("", ["--engine", "noted"], True),
        ('[engine]\nkind = "noted"\n', ["--engine", "local"], False),
    ],
)
def test_the_study_file_selects_the_engine_and_the_flag_overrides_it(
    table: str, flags: list[str], used: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_study(tmp_path, trials=2, more=table)
    assert main(["run", str(study), "--json", *flags]) == 0, capsys.readouterr().err
    assert (tmp_path / "noted").exists() == used


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize("command", ["run", "worker"])
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("nowhere", "[engine] kind: must be an installed engine: broken, local, noted, got"),
        ("broken", "the engine 'broken' (engine_without_library:Launcher) can't be imported: ModuleNotFoundError"),
    ],
)
def test_an_engine_that_cannot_be_used_is_one_error_and_nothing_is_created(
    command: str, name: str, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_study(tmp_path, more=f'[engine]\nkind = "{name}"\n')
    before = sorted(tmp_path.iterdir())
    assert main([command, str(study)]) == 2
    err = capsys.readouterr().err
    assert err.count("broodline: error:") == 1
    assert problem in err
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("command", ["run", "worker"])
def test_an_unknown_engine_on_the_command_line_lists_those_that_are_installed(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_study(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main([command, str(study), "--engine", "nowhere"])
    assert "argument --engine: there is no engine 'nowhere'; installed: local" in capsys.readouterr().err
