"""Facts about the local disk: its errors, and the sizes of files."""

from __future__ import annotations

import errno
from pathlib import Path

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
