"""A study of the soak that trains with a Python function: `function_study.py run|worker STUDY.toml --store URL`.

`run` is what `Study.run` does, with the lease of the study file. `worker` is a loop over `broodline.trials()`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

from soak import train

import broodline
from broodline.config.study_file import read
from broodline.storage.location import StudyLocation
from broodline.studies.run import run
from broodline.studies.trainer import setup_for


def main(command: str, path: str, url: str) -> None:
    study = read(Path(path)).study
    if command == "run":
        run(study, location=StudyLocation(url=url), setup=setup_for(train.function), workers=study.workers)
        return
    for trial in broodline.trials(url, study.name):
        with trial:
            # No engine looks after this process: helpers that it leaves behind when it is killed are its own affair.
            trial.report(score=train.train(trial, train.marks_of(os.getpid()), may_help=False))


if __name__ == "__main__":
    _, chosen, study_file, _, store = sys.argv
    main(chosen, study_file, store)
