"""Puts known mistakes of other implementations into the package, one at a time; a test must fail for each.

A mutant is a file in `tests/mutants/`. Its head names the mistake and the test that must fail. Each edit below it replaces a
few lines of one file::

    mistake: the best checkpoint is deleted
    test: tests/contract/test_mistakes_of_others.py::test_a_checkpoint_is_deleted_when_nothing_needs_it_any_more_and_never_before

    file: src/broodline/core/retention.py
    old:
        Need.BEST: best
    new:
        Need.BEST: ()

Theory of operation: the old lines are found by their Python tokens, and must occur once in the file. Comments, docstrings, line
breaks, indentation and the place in the file are not compared, so rewording, reformatting and moving code leaves a mutant valid.
A renamed identifier does not; `tests/unit/test_mutants.py` then says which mutant to edit.

Usage::

    python tests/mutants.py [--check] [WORD]   # all mutants, or those whose file name contains WORD; --check only applies them
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FAILED = 1  # pytest: tests ran, and some failed; an error of collection or of usage is another status
_LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
_LINE_ENDS = {tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.COMMENT}
_EDIT = re.compile(r"^file: (?P<file>.+)\nold:\n(?P<old>(?:    .*\n|\n)+)new:\n(?P<new>(?:    .*\n|\n)+)", re.MULTILINE)


class Rotten(Exception):
    """A mutant does not fit the code any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A replacement in one file.

    Args:
        file: Its path from the root of the project.
        old: The lines to replace.
        new: The lines that replace them, indented relative to the old ones.
    """

    file: str
    old: str
    new: str

    def applied(self, source: str) -> str:
        """The source of the file with the mistake in it.

        Raises:
            Rotten: The old lines occur nowhere, or more than once.
        """
        tokens, wanted = list(significant_tokens(source)), [token.string for token in significant_tokens(self.old)]
        strings = [token.string for token in tokens]
        places = [place for place in range(len(strings)) if strings[place : place + len(wanted)] == wanted]
        if len(places) != 1:
            raise Rotten(f"{self.file}: must contain these lines once, contains them {len(places)} times:\n{self.old}")
        first, last = tokens[places[0]], tokens[places[0] + len(wanted) - 1]
        lines = source.splitlines(keepends=True)
        before = "".join(lines[: first.start[0] - 1]) + lines[first.start[0] - 1][: first.start[1]]
        after = lines[last.end[0] - 1][last.end[1] :] + "".join(lines[last.end[0] :])
        return before + shifted(self.new, first.start[1]).lstrip() + after


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One mistake."""

    name: str
    mistake: str
    test: str
    edits: tuple[Edit, ...]

    def changed(self) -> dict[str, str]:
        """The files that it changes, and their content with the mistake in it.

        Raises:
            Rotten: An edit does not fit the code.
        """
        changed: dict[str, str] = {}
        for edit in self.edits:
            path = ROOT / edit.file
            if not path.exists():
                raise Rotten(f"{edit.file}: there is no such file")
            changed[edit.file] = edit.applied(changed.get(edit.file) or path.read_text(encoding="utf-8"))
        return changed

    def check(self) -> None:
        """Requires that the edits fit the code, that the code then compiles, and that the test exists.

        Raises:
            Rotten: One of these does not hold.
        """
        for file, content in self.changed().items():
            try:
                compile(content, file, "exec")
            except SyntaxError as error:
                raise Rotten(f"{file}: does not compile with the mistake in it: {error}") from error
        file, _, name = self.test.partition("::")
        function = name.partition("[")[0]
        if not (ROOT / file).exists() or f"def {function}(" not in (ROOT / file).read_text(encoding="utf-8"):
            raise Rotten(f"{self.test}: there is no such test")


def significant_tokens(source: str) -> Iterator[tokenize.TokenInfo]:
    """The tokens that mean something: no comments, docstrings, line breaks, indentation or trailing commas."""
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    for place, token in enumerate(tokens):
        after = tokens[place + 1] if place + 1 < len(tokens) else token
        starts_line = place == 0 or tokens[place - 1].type in _LINE_ENDS
        docstring = token.type == tokenize.STRING and starts_line and after.type == tokenize.NEWLINE
        trailing_comma = token.string == "," and next_significant(tokens, place + 1) in {")", "]", "}"}
        if token.type not in _LAYOUT and not docstring and not trailing_comma:
            yield token


def shifted(block: str, column: int) -> str:
    """A block of lines, moved so that its first line begins at a column."""
    lines = block.rstrip().splitlines()
    by = column - (len(lines[0]) - len(lines[0].lstrip()))
    return "\n".join(" " * by + line if by >= 0 else line[-by:] for line in lines)


def next_significant(tokens: list[tokenize.TokenInfo], place: int) -> str:
    """The first token from a place on that is not layout."""
    return next((token.string for token in tokens[place:] if token.type not in _LAYOUT), "")


def mutants(word: str = "") -> list[Mutant]:
    """The mutants whose name contains a word."""
    return [read(path) for path in sorted((ROOT / "tests" / "mutants").glob("*.mutant")) if word in path.name]


def read(path: Path) -> Mutant:
    """Reads the file of a mutant."""
    content = path.read_text(encoding="utf-8")
    head = dict(line.split(": ", 1) for line in content.splitlines()[:2])
    edits = tuple(
        Edit(file=found["file"], old=textwrap.dedent(found["old"]), new=textwrap.dedent(found["new"]))
        for found in _EDIT.finditer(content)
    )
    if not edits or len(edits) != content.count("\nfile: "):
        raise Rotten(f"{path.name}: must have edits of the form 'file: PATH', 'old:', lines, 'new:', lines")
    return Mutant(name=path.stem, mistake=head["mistake"], test=head["test"], edits=edits)


def outcome(test: str, source: Path) -> int:
    """The exit status of pytest on one test, with the package as it is in a directory."""
    environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1", "MUTANTS": "1"}
    options = ["-q", "-x", "-p", "no:cacheprovider", "-o", "addopts=", "--import-mode=importlib"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, test],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ).returncode


def problem_of(mutant: Mutant, *, only_check: bool) -> str | None:
    """Why a mutant was not caught; None if it was."""
    try:
        mutant.check()
    except Rotten as error:
        return str(error)
    if only_check:
        return None
    with tempfile.TemporaryDirectory() as directory:
        shutil.copytree(ROOT / "src", Path(directory) / "src")
        for file, content in mutant.changed().items():
            (Path(directory) / file).write_text(content, encoding="utf-8")
        status = outcome(mutant.test, Path(directory) / "src")
    return None if status == FAILED else f"{mutant.test} did not fail (pytest's exit status: {status})"


def failing_tests(chosen: list[Mutant]) -> int:
    """Reports the tests that fail without a mutant, and returns how many do."""
    failing = 0
    for test in sorted({mutant.test for mutant in chosen}):
        if status := outcome(test, ROOT / "src"):
            failing += 1
            print(f"BROKEN    {test} fails without a mutant (pytest's exit status: {status})", flush=True)
    return failing


def main() -> None:
    """Runs the mutants."""
    parser = argparse.ArgumentParser(description="Put known mistakes into the package; a test must fail for each.")
    parser.add_argument("word", nargs="?", default="", help="only mutants whose file name contains this")
    parser.add_argument("--check", action="store_true", help="only check that each mutant fits the code; run no test")
    options = parser.parse_args()
    chosen = mutants(options.word)
    problems = 0 if options.check else failing_tests(chosen)
    for mutant in chosen:
        problem = problem_of(mutant, only_check=options.check)
        problems += problem is not None
        verdict = "survived" if problem else "fits" if options.check else "caught"
        print(f"{verdict:<9} {mutant.name}: {problem or mutant.mistake}", flush=True)
    print(f"{len(chosen)} mutants, {problems} problems")
    sys.exit(bool(problems) or not chosen)


if __name__ == "__main__":
    main()
