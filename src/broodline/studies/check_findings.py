"""The findings of a check, and whether a program passed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """The result of one check."""

    GOOD = "good"
    BAD = "bad"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check, and its result."""

    verdict: Verdict
    text: str
    output: str = ""


def verdict_of(findings: Sequence[Finding]) -> Verdict:
    """Whether a program passed: bad if any finding is, and unknown if a fact could not be checked."""
    verdicts = {finding.verdict for finding in findings}
    return next((verdict for verdict in (Verdict.BAD, Verdict.UNKNOWN) if verdict in verdicts), Verdict.GOOD)


def conclusion(findings: Sequence[Finding]) -> str:
    """The last line of a check: whether the program passed."""
    wrong, open_ = (sum(each.verdict is verdict for each in findings) for verdict in (Verdict.BAD, Verdict.UNKNOWN))
    if wrong:
        return f"not passed: {wrong} of {len(findings)} findings are bad; fix those above, then check again"
    if open_:
        return f"not passed: {open_} of {len(findings)} findings are unknown; do what those above propose, then check again"
    return f"passed: all {len(findings)} findings are good"


def listed(values: Sequence[float]) -> str:
    """Values in one line; minus infinity is a failed run."""
    return ", ".join(f"{value:.6g}" if math.isfinite(value) else "failed" for value in values)


def shown(metrics: Mapping[str, Any]) -> str:
    """Metrics in one line."""
    return ", ".join(f"{name} {value:.6g}" if isinstance(value, float) else f"{name} {value}" for name, value in metrics.items())


def good(text: str) -> Finding:
    """A check that passed."""
    return Finding(verdict=Verdict.GOOD, text=text)


def bad(text: str) -> Finding:
    """A mistake of the program."""
    return Finding(verdict=Verdict.BAD, text=text)


def unknown(text: str) -> Finding:
    """A fact that could not be checked."""
    return Finding(verdict=Verdict.UNKNOWN, text=text)
