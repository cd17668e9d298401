"""The files of a study next to its checkpoints: logs, session locks and the lock of its run."""

from __future__ import annotations

from pathlib import Path

from broodline.core.trial import Trial
from broodline.storage.location import files_in


def trial(number: int, attempt: int = 1) -> Trial:
    return Trial(number=number, member=0, generation=0, params={}, steps=1, attempt=attempt)


def test_the_directories_are_made_and_making_them_again_is_no_error(tmp_path: Path) -> None:
    files = files_in(tmp_path / "study")
    for _ in range(2):
        files.prepare()
    assert sorted(path.name for path in files.root.iterdir()) == ["checkpoints", "logs", "staging"]


def test_each_attempt_has_a_log_and_logs_are_found_with_the_numbers_of_their_trials(tmp_path: Path) -> None:
    files = files_in(tmp_path)
    files.prepare()
    for each in (trial(1), trial(1, 2), trial(12)):
        files.log(each).write_text("")
    (files.logs / "notes.log").write_text("")
    assert files.log(trial(3, 2)) == files.logs / "000003.2.log"
    assert sorted(number for number, _ in files.logs_of_attempts()) == [1, 1, 12]


def test_locks_are_files_of_the_study_and_no_checkpoints(tmp_path: Path) -> None:
    files = files_in(tmp_path)
    files.prepare()
    files.workers.mkdir()
    (files.workers / "session").touch()
    files.run_lock.touch()
    assert files.checkpoints.attempts() == []
    assert files.checkpoints.unknown() == []
