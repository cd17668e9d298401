"""The training of the soak: its weights prove their lineage, and its log is independent of the database.

The weights hold a digest of the parent's weights, the params and the attempt; the score is a function of the weights.
As a program it trains one trial, or with the argument `resident` one after another; as a module it is a training function.

Some attempts train for seconds, and some start a helper in a session of its own that would live for an hour. A worker that is
killed leaves both behind.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

sys.path.append(str(Path(__file__).parents[1]))

from soak.phase_log import Marks, log

if TYPE_CHECKING:
    from broodline.workers.running_trial import RunningTrial

PADDING = 20_000  # bytes, so that a kill can cut the weights short
LONG, HELPED = 0.03, 0.1  # shares of the attempts
LONG_SECONDS = (0.5, 2.0)
HELPER = ("/bin/sleep", "3600")


class Trial(NamedTuple):
    """What a program is told about its attempt; functions get `RunningTrial`, which has these attributes too."""

    number: int
    attempt: int
    params: dict[str, Any]
    start: int
    steps: int
    restore_from: Path | None
    save_to: Path


def function(trial: Trial | RunningTrial) -> dict[str, float]:
    """Trains in the process of the worker."""
    return {"score": train(trial, marks_of(os.getpid()))}


def command() -> None:
    """Trains the trial that the environment describes."""
    environ, page = os.environ, marks_of(os.getppid())
    trial = Trial(
        number=int(environ["BROODLINE_TRIAL"]),
        attempt=int(environ["BROODLINE_ATTEMPT"]),
        params=json.loads(Path(environ["BROODLINE_PARAMS"]).read_text()),
        start=int(environ["BROODLINE_START"]),
        steps=int(environ["BROODLINE_STEPS"]),
        restore_from=Path(environ["BROODLINE_RESTORE"]) if "BROODLINE_RESTORE" in environ else None,
        save_to=Path(environ["BROODLINE_SAVE"]),
    )
    score = train(trial, page)
    with open(environ["BROODLINE_METRICS"], "a") as file:
        print(json.dumps({"step": trial.start + trial.steps, "score": score}), file=file)


def resident() -> None:
    """Trains the trials that the worker sends."""
    import broodline

    for trial in broodline.trials():
        with trial:
            trial.report(score=train(trial, marks_of(os.getppid())))


def train(trial: Trial | RunningTrial, page: Marks | None, *, may_help: bool = True) -> float:
    """Trains, saves and logs one attempt; returns its score.

    Args:
        trial: The attempt.
        page: The marks of its worker, for the phases; None if that was killed.
        may_help: Start a helper in some attempts.
    """
    identity = {"trial": trial.number, "attempt": trial.attempt}

    def mark(phase: str) -> None:
        if page is not None:
            page.trainer = os.getpid()
            page.of_trainer = phase

    log("started", **identity, at=time.time())
    mark("restoring")
    parent = None if trial.restore_from is None else digest_of(trial.restore_from)
    dwell()
    mark("training")
    if may_help and random.random() < HELPED:
        os.posix_spawn(HELPER[0], HELPER, os.environ, setsid=True)
    dwell() if random.random() >= LONG else time.sleep(random.uniform(*LONG_SECONDS))
    mark("saving")
    facts = {**identity, "params": dict(trial.params), "start": trial.start, "steps": trial.steps, "parent": parent}
    weights = json.dumps(facts).encode() + b"\n"
    digest = hashlib.sha256(weights).hexdigest()
    files = save(trial.save_to, weights)
    log("saved", **identity, params=dict(trial.params), start=trial.start, parent=parent, digest=digest, files=files)
    return score_of(digest)


def save(directory: Path, weights: bytes) -> dict[str, str]:
    """Saves slowly, so that kills hit half-written checkpoints; returns the digest of each file that it meant to write."""
    (directory / "parts").mkdir()
    with (directory / "parts" / "weights").open("wb", buffering=0) as file:
        for piece in (weights[:20], weights[20:], b"\0" * PADDING):
            file.write(piece)
            dwell()
    of_weights = hashlib.sha256(weights).hexdigest()
    (directory / "digest").write_text(of_weights)
    content = {"parts/weights": weights + b"\0" * PADDING, "digest": of_weights.encode()}
    return {name: hashlib.sha256(each).hexdigest() for name, each in content.items()}


def digest_of(checkpoint: Path) -> str:
    """The digest of the weights in a checkpoint.

    Raises:
        ValueError: They are corrupt.
    """
    content = (checkpoint / "parts" / "weights").read_bytes()
    weights, padding = content[:-PADDING], content[-PADDING:]
    digest = hashlib.sha256(weights).hexdigest()
    if padding != b"\0" * PADDING or digest != (checkpoint / "digest").read_text():
        raise ValueError(f"{checkpoint}: corrupt weights")
    return digest


def score_of(digest: str) -> float:
    """The score of weights."""
    return int(digest[:12], 16) / 16**12


def dwell() -> None:
    time.sleep(random.uniform(0.001, 0.015))


def marks_of(worker: int) -> Marks | None:
    try:
        return Marks.of(worker)
    except FileNotFoundError:  # the worker has been killed
        return None


if __name__ == "__main__":
    resident() if sys.argv[1:] == ["resident"] else command()
