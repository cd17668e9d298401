"""The mutants of `make mutants` fit the code as it stands, so a renamed identifier can not make one useless unnoticed."""

from __future__ import annotations

from pathlib import Path

import mutants
import pytest
from mutants import Edit, Mutant, Rotten

SOURCE = '''\
def wait(seconds: float) -> None:
    """Waits."""
    # Not for ever.
    for _ in range(3):
        if ready():
            return
        sleep(
            min(seconds, 1.0),
        )
'''


def edit(old: str, new: str) -> Edit:
    return Edit(file="wait.py", old=old, new=new)


@pytest.mark.parametrize("mutant", mutants.mutants(), ids=lambda mutant: mutant.name)
def test_every_mutant_fits_the_code_and_names_a_test(mutant: Mutant) -> None:
    mutant.check()


def test_comments_docstrings_line_breaks_and_indentation_are_not_compared() -> None:
    head = "def wait(seconds: float) -> None:"
    old = f"{head}\n    for _ in range(3):\n        if ready(): return\n        sleep(min(seconds, 1.0))\n"
    assert edit(old, f"{head} ...\n").applied(SOURCE) == f"{head} ...\n"


def test_the_new_lines_keep_their_indentation_relative_to_the_old_ones() -> None:
    changed = edit("    return\nsleep(min(seconds, 1.0))\n", "    pass\nelse:\n    return\n").applied(SOURCE)
    assert changed.endswith("        if ready():\n            pass\n        else:\n            return\n")


@pytest.mark.parametrize(("old", "times"), [("wake()\n", 0), ("seconds\n", 2)])
def test_old_lines_that_do_not_occur_exactly_once_are_refused(old: str, times: int) -> None:
    with pytest.raises(Rotten, match=f"contains them {times} times"):
        edit(old, "pass\n").applied(SOURCE)


def test_a_mutant_whose_test_is_gone_is_refused() -> None:
    (mutant, *_) = mutants.mutants()
    gone = Mutant(name="gone", mistake="any", test="tests/unit/test_mutants.py::test_that_is_gone", edits=mutant.edits)
    with pytest.raises(Rotten, match="there is no such test"):
        gone.check()


def test_a_file_without_edits_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.mutant").write_text("mistake: none\ntest: none\n")
    with pytest.raises(Rotten, match=r"empty\.mutant: must have edits"):
        mutants.read(tmp_path / "empty.mutant")
