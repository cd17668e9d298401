"""Facts about the local disk: its errors, and the sizes of files."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ENVIRONMENT

from broodline.storage.disk import delete, is_disk_full, size_of


def test_the_size_of_a_directory_is_that_of_all_files_below_it(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "weights").write_text("12345")
    (tmp_path / "deep" / "state").write_text("678")
    assert size_of(tmp_path) == 8
    assert size_of(tmp_path / "weights") == 5
    assert size_of(tmp_path / "missing") == 0


def test_a_full_disk_is_recognised_in_the_causes_of_an_error() -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    wrapped = RuntimeError("saving failed")
    wrapped.__cause__ = full
    outer = ValueError("training failed")
    outer.__context__ = wrapped
    assert is_disk_full(outer)
    assert is_disk_full(OSError(errno.EDQUOT, "quota"))
    assert not is_disk_full(OSError(errno.EIO, "broken"))
    assert not is_disk_full(None)


def test_a_link_is_deleted_and_its_target_stays(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "weights").write_text("mine")
    (tmp_path / "link").symlink_to(target)
    delete(tmp_path / "link")
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
    assert (target / "weights").exists()


def nest(top: Path, times: int, name: str) -> None:
    """Makes directories within each other, and a file in each; their paths may be longer than the system takes."""
    here = os.open(top, os.O_RDONLY)
    for _ in range(times):
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        os.mkdir(name, dir_fd=here)
        here, above = os.open(name, os.O_RDONLY, dir_fd=here), here
        os.close(above)
    os.close(here)


@pytest.mark.parametrize(("times", "name"), [(1500, "d"), (40, "d" * 200), (3000, "deep")])
def test_directories_nested_too_deep_for_recursion_or_for_a_path_are_measured_and_deleted(
    tmp_path: Path, times: int, name: str
) -> None:
    top = tmp_path / "top"
    (top / ".moved-0").mkdir(parents=True)
    nest(top, times, name)
    assert size_of(top) == 0
    assert delete(top)
    assert list(tmp_path.iterdir()) == []


def test_directories_without_permissions_are_deleted(tmp_path: Path) -> None:
    top = tmp_path / "top"
    for mode in (0o000, 0o555, 0o300):
        (top / f"{mode}" / "deep").mkdir(parents=True)
        (top / f"{mode}" / "deep" / "file").touch()
        (top / f"{mode}" / "deep").chmod(mode)
        (top / f"{mode}").chmod(mode)
    top.chmod(0o555)
    code = "import sys; from pathlib import Path; from broodline.storage.disk import delete; print(delete(Path(sys.argv[1])))"
    done = subprocess.run(
        [*unprivileged(), sys.executable, "-c", code, str(top)], env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "True\n"
    assert list(tmp_path.iterdir()) == []


def unprivileged() -> list[str]:
    """The beginning of a command that runs without the permission of root to ignore permissions."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root ignores permissions, and setpriv is missing")
    capabilities = "-dac_override,-dac_read_search"
    return ["setpriv", f"--bounding-set={capabilities}", f"--inh-caps={capabilities}"]


def test_a_directory_that_can_not_be_deleted_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "top").mkdir()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "rmdir", refuse)
    monkeypatch.setattr(Path, "rmdir", refuse)
    assert not delete(tmp_path / "top")
