"""The requests and answers of the service as strict models: no unknown key, no conversion, a bound on every string and number.

They check requests, and the OpenAPI description is made from them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from broodline.config.study import NAME
from broodline.controller.client import WorkerSession
from broodline.core.json_values import LARGEST_INT
from broodline.core.trial import Measurement
from broodline.service.encoding import measurement_from

LARGEST_NUMBER = 2**31 - 1
LONGEST_WAIT = 60.0  # seconds
MOST_SESSIONS = 10_000
PAGE = 200
_MOST_MEASUREMENTS = 1_000_000
_CHECKPOINT = r"checkpoints/[0-9]{6,10}\.[0-9]{1,10}"
_PLAIN = r"[^\u0000-\u001f\u007f]*"  # no control characters

StudyName = Annotated[str, Field(pattern=f"^{NAME}$", max_length=100)]
Number = Annotated[int, Field(ge=0, le=LARGEST_NUMBER)]
Attempt = Annotated[int, Field(ge=1, le=LARGEST_NUMBER)]
Step = Annotated[int, Field(ge=0, le=LARGEST_INT)]
Label = Annotated[str, Field(min_length=1, max_length=200, pattern=f"^{_PLAIN}$")]
CheckpointName = Annotated[str, Field(pattern=f"^{_CHECKPOINT}$", max_length=40)]


class Request(BaseModel):
    """A request: nothing is converted, and a key that is not known is refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Query(BaseModel):
    """The part of a URL after the question mark, where every value is a string."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Special(Request):
    """A place in a document that holds null, and the number that is meant."""

    path: list[str | int] = Field(max_length=100)
    value: Literal["nan", "inf", "-inf"]


class MeasurementModel(Request):
    """The metrics at a step. `special` names the places of NaN and infinity, which hold null."""

    step: Step
    metrics: dict[str, Any] = Field(max_length=100_000)
    special: list[Special] = Field(default=[], max_length=100_000)

    def value(self) -> Measurement:
        """The measurement."""
        return measurement_from(self.model_dump())


class Session(Request):
    """A worker and its session."""

    worker: Label
    session: Label

    @property
    def identity(self) -> WorkerSession:
        """The worker as the controller knows it."""
        return WorkerSession(worker=self.worker, session=self.session)


class Ask(Session):
    """A worker asks for a trial. Where it would have to wait, the answer may take as long as `wait` seconds."""

    wait: Annotated[float, Field(ge=0, le=LONGEST_WAIT)] = 0.0


class _Measured(Request):
    attempt: Attempt
    measurements: list[MeasurementModel] = Field(max_length=_MOST_MEASUREMENTS)

    @property
    def values(self) -> list[Measurement]:
        """The measurements."""
        return [measurement.value() for measurement in self.measurements]


class Report(_Measured):
    """Measurements of a running trial. `index` counts the reports of the attempt, and a repeated report keeps its own."""

    index: Attempt


class Damaged(Session):
    """The checkpoint of a trial's parent is missing or corrupt."""

    attempt: Attempt
    parent: Number


class Stop(Session, _Measured):
    """A trial has ended early."""


class Complete(Session, _Measured):
    """A trial is trained, measured and saved. `checkpoint` is the name of this attempt: `checkpoints/000012.1`."""

    checkpoint: CheckpointName
    likeness: Literal["same", "same weights"] | None = None


class Fail(Session, _Measured):
    """The program of a trial failed."""

    reason: Annotated[str, Field(max_length=20_000)]
    output: Annotated[str, Field(max_length=200_000)]


class Renew(Request):
    """The leases of all trials that these sessions hold are extended."""

    sessions: list[Label] = Field(max_length=MOST_SESSIONS)


class Release(Renew):
    """The trials that these sessions hold are given back; `lost`: the sessions died."""

    lost: bool = False


class Open(Request):
    """A study is created, or resumed with changed settings. The definition is that of a study file."""

    definition: dict[str, Any] = Field(max_length=100)


class FilesModel(Request):
    """The record of a directory: the UUID that it carries, and its place as HOST:PATH."""

    id: Annotated[str, Field(pattern="^[0-9a-f]{32}$", max_length=32)]
    place: Annotated[str, Field(max_length=5_000, pattern=f"^{_PLAIN}$")] | None = None


class ReplaceFiles(Request):
    """The record of a directory is replaced if it is still `before`."""

    before: FilesModel | None
    after: FilesModel | None


class End(Request):
    """A study ends: running trials finish, or are called back now."""

    now: bool
    reason: Annotated[str, Field(max_length=2_000)]


class Problem(BaseModel):
    """An error: a word for programs, and a sentence for people."""

    code: str
    message: str


class TrialModel(BaseModel):
    """A trial. `special` names the places of NaN and infinity, which hold null."""

    model_config = ConfigDict(extra="allow")

    number: int
    member: int
    generation: int
    state: Literal["pending", "running", "completed", "failed", "stopped"]
    params: dict[str, Any]
    start: int
    steps: int
    attempt: int
    seed: int


class AnswerModel(BaseModel):
    """The answer to an ask: start a trial, wait, or done."""

    answer: Literal["start", "wait", "done"]
    delete: list[str]
    trial: TrialModel | None = None
    restore: str | None = None
    reason: str | None = None


class SignalModel(BaseModel):
    """The answer to a report."""

    signal: Literal["continue", "stop", "release"]


class Nothing(BaseModel):
    """The answer to a call that answers nothing."""


class StudiesModel(BaseModel):
    """The names of all studies."""

    studies: list[str]


class StudyModel(BaseModel):
    """A study at one moment."""

    definition: dict[str, Any]
    progress: dict[str, Any]
    now: float
    unfinished: list[TrialModel]
    members_started: int
    doubtful: int
    first_doubtful: TrialModel | None


class TrialsModel(BaseModel):
    """Trials, and the number after which the next page begins; null on the last page."""

    trials: list[TrialModel]
    after: int | None = None


class OneTrialModel(BaseModel):
    """One trial, or null."""

    trial: TrialModel | None


class MeasurementsModel(BaseModel):
    """The measurements of an attempt, in order."""

    measurements: list[dict[str, Any]]


class CheckpointsModel(BaseModel):
    """The checkpoints that are not kept for good."""

    checkpoints: list[dict[str, Any]]


class FilesAnswer(BaseModel):
    """The record of a study's directory, or null."""

    files: FilesModel | None


class ReplacedModel(BaseModel):
    """Whether a record was replaced."""

    replaced: bool


class CountModel(BaseModel):
    """A number."""

    count: int


class MembersModel(BaseModel):
    """Members by number."""

    members: list[int]


class PageQuery(Query):
    """A page of trials."""

    after: Annotated[int, Field(ge=-1, le=LARGEST_NUMBER)] = -1
    limit: Annotated[int, Field(ge=1, le=PAGE)] = PAGE


class CountQuery(Query):
    """How many."""

    count: Annotated[int, Field(ge=0, le=LARGEST_NUMBER)] = 1


class ScoreQuery(Query):
    """A score."""

    score: float


class AttemptQuery(Query):
    """An attempt; without one the last that has measurements."""

    attempt: Attempt | None = None


class MemberQuery(Query):
    """A member; without one all."""

    member: Number | None = None


class GenerationQuery(Query):
    """A generation."""

    generation: Number


class WorkerQuery(Query):
    """A worker."""

    worker: Annotated[str, Field(max_length=200)]


class LeavesQuery(WorkerQuery):
    """A worker, and the generation before which a leaf has to be."""

    before: Number | None = None
