"""Schedules as JSON, TOML and CSV, and back; the content of a file is not trusted."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broodline import load_schedule, save_schedule
from broodline.config.schedule_formats import NOTATIONS, read, write
from broodline.core.schedule import Schedule, Segment
from broodline.errors import ScheduleError, UsageError

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
NAMES = ("lr", "optimizer", "nesterov", "layers", "_x1")
ODD = [
    *("", " ", "true", "null", "1", "1e5", "-0", "NaN", "[1]", "a,b", '"', '"a"'),
    *("a\nb", "\r", "\x00", "\x7f", "\u2028", "ä", "=1+1"),
]
TEXTS = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(ODD)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = TEXTS | FLOATS | st.integers(-(2**63), 2**63) | st.booleans()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=6
)


@st.composite
def schedules(draw: st.DrawFn, values: st.SearchStrategy[Any] = VALUES) -> Schedule:
    """Schedules in which params come and go."""
    starts = sorted({0, *draw(st.lists(st.integers(0, 10**9), max_size=4))})
    segments = [Segment(start=start, params=draw(st.dictionaries(st.sampled_from(NAMES), values))) for start in starts]
    return Schedule(segments=tuple(segments), end=starts[-1] + draw(st.integers(0, 1000)))


def exact(value: Any) -> Any:
    """A value that equals another only if that is of the same type, and a float of the same sign and bits."""
    match value:
        case float():
            return ("float", value.hex())
        case dict():
            return {name: exact(each) for name, each in value.items()}
        case list() | tuple():
            return [exact(each) for each in value]
        case _:
            return (type(value).__name__, value)


def told(schedule: Schedule) -> Any:
    return exact(schedule.document())


def example(**params: Any) -> Schedule:
    return Schedule(segments=(Segment(start=0, params=params),), end=40)


@pytest.mark.parametrize("notation", NOTATIONS)
@patient
@given(schedule=schedules())
def test_what_is_written_is_read_as_it_was(notation: str, schedule: Schedule) -> None:
    assert told(read(write(schedule, notation), notation, "file")) == told(schedule)


@pytest.mark.parametrize("notation", ["json", "csv"])
def test_null_has_a_form_in_json_and_csv(notation: str) -> None:
    assert read(write(example(clip=None), notation), notation, "file")(0) == {"clip": None}


def test_null_has_no_form_in_toml() -> None:
    with pytest.raises(UsageError, match="TOML can't express None"):
        write(example(clip=None), "toml")


@patient
@given(schedule=schedules(SCALARS))
def test_a_row_of_csv_is_one_line_and_a_segment(schedule: Schedule) -> None:
    lines = write(schedule, "csv").removesuffix("\n").split("\n")
    assert len(lines) == 1 + len(schedule.segments)
    rows = [next(csv.reader(io.StringIO(line))) for line in lines]
    starts = [(segment.start, segment.params) for segment in schedule.segments]
    for row, (start, params) in zip(rows[1:], starts, strict=True):
        cells = dict(zip(rows[0], row, strict=True))
        assert int(cells["start"]) == start
        assert {name for name in cells if cells[name] and name not in ("start", "steps")} == set(params)


def test_csv_is_plain_for_plain_values() -> None:
    schedule = Schedule(
        segments=(Segment(start=0, params={"lr": 0.1, "optimizer": "adam"}), Segment(start=40, params={"lr": 0.08, "bn": True})),
        end=100,
    )
    assert write(schedule, "csv") == "start,steps,lr,optimizer,bn\n0,40,0.1,adam,\n40,60,0.08,,true\n"


def test_a_text_that_looks_like_json_nested_without_end_is_a_text_in_csv() -> None:
    schedule = example(code="[" * 100_000)
    assert read(write(schedule, "csv"), "csv", "f") == schedule


def test_json_and_toml_tell_where_a_schedule_comes_from() -> None:
    origin = {"study": "digits", "trial": 7}
    written = write(example(lr=0.1), "toml", origin)
    assert written == 'study = "digits"\ntrial = 7\nend = 40\n\n[[segments]]\nstart = 0\n[segments.params]\nlr = 0.1\n'
    assert read(written, "toml", "file") == read(write(example(lr=0.1), "json", origin), "json", "file") == example(lr=0.1)


GOOD: dict[str, Any] = {"end": 40, "segments": [{"start": 0, "params": {"lr": 0.1}}, {"start": 20, "params": {"lr": 0.2}}]}


def changed(*keys: Any, to: Any) -> str:
    document = json.loads(json.dumps(GOOD))
    inner = document
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = to
    return json.dumps(document)


@pytest.mark.parametrize(
    ("content", "saying"),
    [
        ("", "must be a schedule in JSON: "),
        ("[]", "must have `end` and `segments`, got the list []"),
        ("[" * 100_000, "must be a schedule, got a document that is nested too deeply"),
        ('{"end": 1, "end": 2}', "must be a schedule in JSON: 'end' is defined twice"),
        ('{"end": NaN}', "must be a schedule in JSON: NaN is not a number in JSON"),
        (changed("ends", to=1), "ends: unknown key (did you mean 'end'?)"),
        (changed("end", to=True), "end: must be an integer, at least 0, got true (a boolean)"),
        (changed("end", to=19), "end: must be at least 20, where the last segment starts, got 19"),
        (changed("segments", to=[]), "segments: must be a list of segments"),
        (changed("segments", to={"start": 0}), "segments: must be a list of segments"),
        (changed("segments", 0, "start", to=5), "segments.0.start: must be 0, where a schedule starts, got 5"),
        (changed("segments", 1, "start", to=0), "segments.1.start: must be above 0, where the previous segment starts, got 0"),
        (changed("segments", 1, "start", to=-3), "segments.1.start: must be an integer, at least 0"),
        (changed("segments", 1, "params", to=[]), "segments.1.params: must be a table"),
        (changed("segments", 1, "params", "save", to=1), "segments.1.params.save: 'save' is reserved"),
        (changed("segments", 1, "params", "a-b", to=1), "segments.1.params.a-b: the name of a parameter"),
        (
            changed("segments", 1, "params", "lr", to=0).replace("0}}]", "1e999}}]"),
            "segments.1.params.lr: must be a string, a finite",
        ),
    ],
)
def test_what_is_no_schedule_is_one_clear_error(content: str, saying: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        read(content, "json", "schedule.json")
    assert str(caught.value).startswith(f"schedule.json: {saying}")


@pytest.mark.parametrize(
    ("content", "saying"),
    [
        ("", "its first line must be start,steps"),
        ("step,lr\n0,1\n", "its first line must be start,steps"),
        ("start,steps,lr,lr\n0,1,1,1\n", "its first line must be start,steps and the names of the hyperparameters, each once"),
        ("start,steps,lr\n", "segments: must be a list of segments"),
        ("start,steps,lr\n0,10\n", "row 2 has 2 values, but the first line has 3 names"),
        ("start,steps,lr\n5,10,1\n", "row 2 must start at step 0, where the previous row ends, got 5"),
        ("start,steps,lr\n0,10,1\n11,10,1\n", "row 3 must start at step 10, where the previous row ends, got 11"),
        ("start,steps,lr\n0,10,1\n10,-5,1\n", "row 3: a number of steps must be an integer, got '-5'"),
        ('start,steps,lr\n0,10,"1\n', "must be a schedule in CSV"),
    ],
)
def test_what_is_no_schedule_in_csv_is_one_clear_error(content: str, saying: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        read(content, "csv", "schedule.csv")
    assert saying in str(caught.value)


@pytest.mark.parametrize("content", ["end = ", "end = 1979-05-27", "end = 1\nend = 2", "a = " + "[" * 100_000])
def test_what_is_no_schedule_in_toml_is_one_clear_error(content: str) -> None:
    with pytest.raises(ScheduleError, match=r"^schedule\.toml: "):
        read(content, "toml", "schedule.toml")


@pytest.mark.parametrize("notation", NOTATIONS)
@patient
@given(content=st.text(st.characters(codec="utf-8")) | st.text('{}[]",:=\n0aset', max_size=60))
def test_any_text_is_a_schedule_or_one_error(notation: str, content: str) -> None:
    try:
        read(content, notation, "file")
    except ScheduleError as error:
        told = str(error)
    else:
        told = "file: "
    assert told.startswith("file: ")


def test_a_file_tells_by_its_name_how_it_is_written(tmp_path: Path) -> None:
    for notation in NOTATIONS:
        save_schedule(example(lr=0.1), tmp_path / f"schedule.{notation}")
        assert load_schedule(tmp_path / f"schedule.{notation}") == example(lr=0.1)
    assert len(list(tmp_path.iterdir())) == len(NOTATIONS)
    with pytest.raises(UsageError, match=r"must end in \.json, \.toml, \.csv"):
        load_schedule(tmp_path / "schedule")


def test_a_file_that_can_not_be_read_or_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(ScheduleError, match=r"missing\.json: can't be read: No such file"):
        load_schedule(tmp_path / "missing.json")
    (tmp_path / "latin.json").write_bytes(b"\xe4")
    with pytest.raises(ScheduleError, match="is not encoded in UTF-8"):
        load_schedule(tmp_path / "latin.json")
    with pytest.raises(UsageError, match="can't be written: No such file"):
        save_schedule(example(lr=0.1), tmp_path / "missing" / "schedule.json")
    with pytest.raises(UsageError, match="UTF-8 can't encode"):
        save_schedule(example(name="\ud800"), tmp_path / "odd.json")
    assert [path.name for path in tmp_path.iterdir()] == ["latin.json"]


def test_a_file_that_an_editor_marked_as_utf_8_is_read(tmp_path: Path) -> None:
    (tmp_path / "schedule.csv").write_bytes("\ufeffstart,steps,lr\r\n0,40,0.1\r\n".encode())
    assert load_schedule(tmp_path / "schedule.csv") == example(lr=0.1)
