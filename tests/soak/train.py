"""The training program of the soak: its weights prove their lineage, and its log is independent of the database.

The weights hold a digest of the parent's weights, the params and the attempt; the score is a function of the weights.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

from soak.phase_log import Marks, log

PADDING = 20_000  # bytes, so that a kill can cut the weights short


def dwell() -> None:
    time.sleep(random.uniform(0.001, 0.015))


def marks() -> Marks | None:
    try:
        return Marks.of(os.getppid())
    except FileNotFoundError:  # the worker has been killed
        return None


def main() -> None:
    environ, page = os.environ, marks()
    identity = {"trial": int(environ["BROODLINE_TRIAL"]), "attempt": int(environ["BROODLINE_ATTEMPT"])}
    params = json.loads(Path(environ["BROODLINE_PARAMS"]).read_text())
    start, steps = int(environ["BROODLINE_START"]), int(environ["BROODLINE_STEPS"])

    def mark(phase: str) -> None:
        if page is not None:
            page.trainer = os.getpid()
            page.of_trainer = phase

    log("started", **identity, at=time.time())
    mark("restoring")
    parent = digest_of(Path(environ["BROODLINE_RESTORE"])) if "BROODLINE_RESTORE" in environ else None
    dwell()
    mark("training")
    dwell()
    mark("saving")
    weights = json.dumps({**identity, "params": params, "start": start, "steps": steps, "parent": parent}).encode() + b"\n"
    save(Path(environ["BROODLINE_SAVE"]), weights)
    digest = hashlib.sha256(weights).hexdigest()
    score = score_of(digest)
    log("saved", **identity, params=params, start=start, parent=parent, digest=digest)
    with open(environ["BROODLINE_METRICS"], "a") as file:
        print(json.dumps({"step": start + steps, "score": score}), file=file)


def save(directory: Path, weights: bytes) -> None:
    """Saves slowly, so that kills hit half-written checkpoints."""
    (directory / "parts").mkdir()
    with (directory / "parts" / "weights").open("wb", buffering=0) as file:
        for piece in (weights[:20], weights[20:], b"\0" * PADDING):
            file.write(piece)
            dwell()
    (directory / "digest").write_text(hashlib.sha256(weights).hexdigest())


def weights_of(checkpoint: Path) -> bytes:
    """The weights in a checkpoint.

    Raises:
        ValueError: They are corrupt.
    """
    content = (checkpoint / "parts" / "weights").read_bytes()
    weights, padding = content[:-PADDING], content[-PADDING:]
    if padding != b"\0" * PADDING or hashlib.sha256(weights).hexdigest() != (checkpoint / "digest").read_text():
        raise ValueError(f"{checkpoint}: corrupt weights")
    return weights


def digest_of(checkpoint: Path) -> str:
    """The digest of the weights in a checkpoint."""
    return hashlib.sha256(weights_of(checkpoint)).hexdigest()


def score_of(digest: str) -> float:
    """The score of weights."""
    return int(digest[:12], 16) / 16**12


if __name__ == "__main__":
    main()
