"""Makes the known mistakes of others, one at a time, and requires that a test catches each.

A mutant is a patch in `tests/mutants/`; above its diff it says which mistake it makes and which test must fail::

    mistake: the child takes the winner's params, but its own, the loser's, checkpoint
    test: tests/e2e/test_stranger.py::test_every_warm_start_was_the_recorded_parents_checkpoint

Run all, or those whose file name holds a word: `python tests/mutants.py [word]`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FAILED = 1  # pytest: tests ran, and some failed; an error of collection or of usage is another status


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One mistake."""

    patch: Path
    mistake: str
    test: str


def mutants(word: str) -> list[Mutant]:
    """The mutants whose name holds a word."""
    found = []
    for patch in sorted((ROOT / "tests" / "mutants").glob("*.patch")):
        head = dict(line.split(": ", 1) for line in patch.read_text(encoding="utf-8").splitlines()[:2])
        if word in patch.name:
            found.append(Mutant(patch=patch, mistake=head["mistake"], test=head["test"]))
    return found


def outcome(test: str, source: Path) -> int:
    """The exit status of pytest on one test, with the package as it is in a directory."""
    environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "-o",
        "addopts=",
        "--import-mode=importlib",
        test,
    ]
    return subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode


def survives(mutant: Mutant) -> str | None:
    """Why a mutant was not caught; None if it was."""
    with tempfile.TemporaryDirectory() as directory:
        shutil.copytree(ROOT / "src", Path(directory) / "src")
        applied = subprocess.run(
            ["git", "apply", "-p1", str(mutant.patch)], cwd=directory, env={**os.environ, "GIT_DIR": "/nonexistent"}
        )
        if applied.returncode:
            return "its patch does not apply any more"
        status = outcome(mutant.test, Path(directory) / "src")
    return None if status == FAILED else f"{mutant.test} did not fail (pytest's exit status: {status})"


def main() -> None:
    """Runs the mutants."""
    chosen = mutants(sys.argv[1] if len(sys.argv) > 1 else "")
    problems = 0
    for test in sorted({mutant.test for mutant in chosen}):
        if status := outcome(test, ROOT / "src"):
            problems += 1
            print(f"BROKEN    {test} fails without a mutant (pytest's exit status: {status})", flush=True)
    for mutant in chosen:
        problem = survives(mutant)
        problems += problem is not None
        print(f"{'survived' if problem else 'caught':<9} {mutant.patch.stem}: {problem or mutant.mistake}", flush=True)
    print(f"{len(chosen)} mutants, {problems} problems")
    sys.exit(bool(problems) or not chosen)


if __name__ == "__main__":
    main()
