"""Measures the cost of committing a large checkpoint: 50 MB through broodline against the same bytes by a plain program.

Each pair writes the same bytes twice to the same file system, in alternating order. A plain program makes them survive a power
failure: it writes, flushes the files and flushes their directory. A worker calls `begin`, writes, and calls `commit`, which
writes a manifest, flushes and renames::

    python -m benchmarks.saving [--pairs 40] [--megabytes 50] [--directory DIR]

Prints the median time of each and the median ratio of the pairs, for one file and for twenty, without and with checksums.
Disks are noisy: use many pairs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from broodline.core.trial import Trial
from broodline.storage.checkpoints.local import LocalCheckpointStore

MEGABYTE = 10**6
COUNTS = (1, 20)


def write(directory: Path, content: list[bytes]) -> list[Path]:
    """Saves weights as a training program does, without a flush."""
    paths = [directory / f"weights-{number:02d}" for number in range(len(content))]
    for path, data in zip(paths, content, strict=True):
        path.write_bytes(data)
    return paths


def plainly(directory: Path, content: list[bytes]) -> Path:
    """Writes and flushes as a careful program does, and returns the directory."""
    made = directory / "plain"
    made.mkdir()
    for path in [*write(made, content), made, directory]:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    return made


def committing(files: LocalCheckpointStore) -> Callable[[Path, list[bytes]], Path]:
    """Returns a function that does the same as a worker, for one trial after another."""
    numbers = iter(range(10**6))

    def commit(_directory: Path, content: list[bytes]) -> Path:
        trial = Trial(number=next(numbers), member=0, generation=0, params={}, steps=1, attempt=1)
        write(files.begin(trial), content)
        return files.path(files.commit(trial))

    return commit


def pairs(directory: Path, count: int, content: list[bytes], *, checksums: bool) -> Iterator[tuple[float, float]]:
    """Yields the seconds of the plain program and of broodline, pair by pair."""
    files = LocalCheckpointStore(directory / "study", checksums=checksums)
    files.prepare()
    ways = [plainly, committing(files)]
    for number in range(count + 1):
        seconds = {}
        for way in ways if number % 2 else reversed(ways):
            begun = time.perf_counter()
            made = way(directory, content)
            seconds[way] = time.perf_counter() - begun
            shutil.rmtree(made)
            os.sync()  # so that no way pays for the pending writes of the other
        if number:  # the first pair is a warm-up
            yield seconds[ways[0]], seconds[ways[1]]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--megabytes", type=int, default=50)
    parser.add_argument("--directory", type=Path, help="directory to write to (default: a temporary one)")
    options = parser.parse_args()
    found = []
    for checksums in (False, True):
        for count in COUNTS:
            content = [random.randbytes(options.megabytes * MEGABYTE // count) for _ in range(count)]
            with tempfile.TemporaryDirectory(dir=options.directory) as directory:
                took = list(pairs(Path(directory), options.pairs, content, checksums=checksums))
            plain, committed = (1000 * median(each[way] for each in took) for way in (0, 1))
            ratio = median(committed / plain for plain, committed in took)
            what = f"{count} file{'s' if count > 1 else ''} of {options.megabytes} MB together"
            print(
                f"{what}{', checksums' if checksums else ''}: plain {plain:.1f} ms, committed {committed:.1f} ms, "
                f"ratio {ratio:.3f} (median of {options.pairs} pairs)",
                flush=True,
            )
            found.append({"files": count, "checksums": checksums, "plain_ms": round(plain, 2), "ratio": round(ratio, 3)})
    print(json.dumps({"megabytes": options.megabytes, "pairs": options.pairs, "measured": found}))


if __name__ == "__main__":
    main()
