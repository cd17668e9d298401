"""A whole study as one JSON document."""

from __future__ import annotations

import json
from collections.abc import Iterator

from broodline.config.study import study_from
from broodline.core.population import Progress
from broodline.core.trial import Trial
from broodline.reports.records import measurement_record, moment, record, to_json
from broodline.storage.base import Transaction
from broodline.storage.study_files import StudyFiles

FORMAT = 1


def whole_study(records: Transaction, files: StudyFiles) -> Iterator[str]:
    """Yields the document in lines, a trial a line, so that a long study needs little memory.

    Args:
        records: A snapshot of the study.
        files: The files of the study.
    """
    study_from(records.definition())  # a corrupt definition is one clear error
    head = {"format": FORMAT, "study": json.loads(records.definition()), "progress": _progress(records.progress())}
    yield to_json(head).removesuffix("}") + ', "trials": ['
    # One trial is held back, because the last one has no comma after it.
    before = None
    for trial in records.trials():
        if before is not None:
            yield before + ","
        before = to_json(_trial(records, trial, files))
    if before is not None:
        yield before
    yield "]}"


def _progress(progress: Progress) -> dict[str, object]:
    fields = {name: getattr(progress, name) for name in Progress.__slots__}
    return {**fields, "touched": moment(progress.touched)}


def _trial(records: Transaction, trial: Trial, files: StudyFiles) -> dict[str, object]:
    measurements = [measurement_record(measurement) for measurement in records.measurements(trial.number)]
    more = {name: getattr(trial, name) for name in ("seed", "lost", "failures", "output", "damaged", "child")}
    return {**record(trial, files), **more, "measurements": measurements}
