"""Metrics as programs print them: each notation, and any batching of the same output."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from assignments import trial
from hypothesis import given
from hypothesis import strategies as st

from broodline.core.trial import Measurement
from broodline.workers.metric_lines import Lines, Notation, ObjectLines, PairLines, PatternLines, notation
from broodline.workers.trainers.measurements import Measurements
from broodline.workers.trainers.output import log_file
from broodline.workers.trainers.printed_metrics import PrintedMetrics


def found(reader: Notation, *lines: str) -> list[Any]:
    """The metrics in the lines, as strings where they are not finite, so that they can be compared."""
    read = [values for line in lines if (values := reader.read(line)) is not None]
    return [{name: spelled(value) for name, value in values.items()} for values in read]


def spelled(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ('{"acc": 0.9}', {"acc": 0.9}),
        ('  {"acc": 0.9}  ', {"acc": 0.9}),
        ("{'acc': 0.9, 'done': True, 'note': None,}", {"acc": 0.9, "done": True, "note": None}),
        ('INFO: {"acc": 0.9}', {"acc": 0.9}),
        ("2026-01-01 12:00:00 [INFO] {root} {'acc': 0.9} after 3 s", {"acc": 0.9}),
        ("{'acc': np.float64(0.9), 'n': np.int64(3)}", {"acc": 0.9, "n": 3}),
        ("{'acc': tensor(0.9, device='cuda:0')}", {"acc": 0.9}),
        ("{'acc': array(0.9, dtype=float32)}", {"acc": 0.9}),
        ("""{"quote": "it's {", "acc": 0.9}""", {"quote": "it's {", "acc": 0.9}),
        ("""{'quote': 'say "{"', 'acc': 0.9}""", {"quote": 'say "{"', "acc": 0.9}),
        ('{"nan": "nan", "acc": 0.9}', {"nan": "nan", "acc": 0.9}),
        ('{"acc": {"top1": 0.9}}', {"acc": {"top1": 0.9}}),
        ('{"acc": nan}', {"acc": "nan"}),
        ('{"acc": -NAN}', {"acc": "nan"}),
        ("{'acc': -inf, 'b': Infinity, 'c': INF}", {"acc": "-inf", "b": "inf", "c": "inf"}),
        ("{'acc': np.float64(nan)}", {"acc": "nan"}),
        ('{"acc": 1e400}', {"acc": "inf"}),
        ("100%|####| 10/10 {'acc': 0.9}", {"acc": 0.9}),
        ("epoch 1", None),
        ("{not json}", None),
        ("[1]", None),
        ("{'acc'}", None),
        ("{" * 100_000, None),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, None),
    ],
)
def test_objects_are_read_in_json_and_as_python_shows_them(line: str, values: dict[str, Any] | None) -> None:
    assert found(ObjectLines(), line) == ([] if values is None else [values])


@pytest.mark.parametrize(
    "text",
    [
        '{\n  "acc": 0.9,\n  "by class": {\n    "cat": 1\n  },\n  "list": [\n    1,\n    2\n  ]\n}',
        '{\n"acc": 0.9,\n"by class": {\n"cat": 1\n},\n"list": [\n1,\n2\n]\n}',
        "INFO: {\n  'acc': 0.9,\n  'by class': {'cat': 1},\n  'list': [1, 2]\n}",
        "{'acc': 0.9,\n 'by class': {'cat': 1},\n 'list': [1, 2]}",
        "INFO {'acc': 0.9,\n 'by class': {'cat': 1},\n 'list': [1, 2]}",
    ],
)
def test_an_object_may_span_several_lines(text: str) -> None:
    assert found(ObjectLines(), *text.split("\n")) == [{"acc": 0.9, "by class": {"cat": 1}, "list": [1, 2]}]


@pytest.mark.parametrize("before", ["{broken", "if (x) {", "{", '{"acc": ', "{'a': 'x", 'config: { "lr": 0.1,'])
def test_an_open_brace_hides_none_of_the_objects_that_follow(before: str) -> None:
    assert found(ObjectLines(), before, '{"acc": 0.9}', before, "plain text", 'INFO: {"acc": 0.8}') == [
        {"acc": 0.9},
        {"acc": 0.8},
    ]


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("val_acc=0.91 loss=0.3", {"val_acc": 0.91, "loss": 0.3}),
        ("step = 1400, val_acc = 91.5%, loss=1e-3", {"step": 1400, "val_acc": 91.5, "loss": 1e-3}),
        (" 50%|#####     | 5/10 [00:01<00:01, 4.9it/s, loss=0.3, val/acc@1=0.91]", {"loss": 0.3, "val/acc@1": 0.91}),
        ("INFO:root:val_acc=0.91.", {"val_acc": 0.91}),
        ("[loss=0.3](val_acc=tensor(0.91))", {"loss": 0.3, "val_acc": 0.91}),
        ("val_acc='0.91' model=\"big one\"", {"val_acc": 0.91, "model": "big one"}),
        ("val_acc=nan loss=-INF", {"val_acc": "nan", "loss": "-inf"}),
        ("val_acc=n/a", {"val_acc": "n/a"}),
        ("python train.py --lr=0.1", None),
        ("a == 1, b >= 2, c", None),
    ],
)
def test_pairs_are_read_from_any_line(line: str, values: dict[str, Any] | None) -> None:
    assert found(PairLines(), line) == ([] if values is None else [values])


def test_a_pattern_finds_its_value_and_the_last_step_holds_for_all_that_follow() -> None:
    patterns = PatternLines({"acc": r"acc: (\S+)", "loss": r"(?<=loss )[\d.]+", "step": r"^step (\d+)"})
    lines = ["acc: 0.5", "step 10", "acc: 0.6 acc: 0.7", "nothing", "loss 0.3 and acc: 0.8", "step 20 acc: 90%"]
    assert found(patterns, *lines) == [
        {"acc": 0.5},
        {"step": 10, "acc": 0.7},
        {"step": 10, "acc": 0.8, "loss": 0.3},
        {"step": 20, "acc": 90.0},
    ]


@pytest.mark.parametrize(
    "pattern", [r"acc: ([\d.]+)", r"acc: (\d+\.\d+)", r"acc: ([-+]?\d*\.?\d+)", r"acc: (\S+)", r"acc: (.*)$"]
)
@pytest.mark.parametrize("line", ["acc: nan", "acc: NaN", "acc: -nan", "acc: inf", "acc: -inf", "acc: Infinity"])
def test_a_pattern_for_digits_finds_what_is_not_finite_too(pattern: str, line: str) -> None:
    (values,) = found(PatternLines({"acc": pattern}), line)
    assert values["acc"] in ("nan", "inf", "-inf")


def test_a_value_beside_one_that_is_not_finite_is_itself() -> None:
    patterns = PatternLines({"acc": r"loss [\d.]+ acc ([\d.]+)", "word": r"info (\d)"})
    assert found(patterns, "loss nan acc 0.9", "info 3 financial") == [{"acc": 0.9}, {"word": 3}]


def test_the_key_metrics_names_the_notation() -> None:
    kinds = [type(notation(metrics)) for metrics in ("stdout", "name=value", {"a": "a"})]
    assert kinds == [ObjectLines, PairLines, PatternLines]


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    return [data[start:end] for start, end in pairwise(sorted({0, len(data), *(min(place, len(data)) for place in cuts)}))]


@given(
    st.lists(st.sampled_from([b"a", b"\n", b"\r", b"\r\n", b"\x1b[31m", "é".encode()]), max_size=12), st.lists(st.integers(0, 40))
)
def test_lines_are_the_same_however_the_bytes_arrive(parts: list[bytes], cuts: list[int]) -> None:
    data = b"".join(parts)
    whole, pieces = Lines(), Lines()
    assert [line for piece in cut(data, cuts) for line in pieces.feed(piece)] + pieces.rest() == whole.feed(data) + whole.rest()


def test_a_carriage_return_ends_a_line_and_colours_are_removed() -> None:
    lines = Lines()
    fed = lines.feed(b"\r 10% loss=3\r 20% loss=2\n\x1b[32macc=1\x1b[0m\r\nlast")
    assert fed == [(" 10% loss=3", True), (" 20% loss=2", True), ("acc=1", False)]
    assert lines.rest() == [("last", False)]


OUTPUT = b"""{"lr": 1}
\r 10%|#         | a=1\r 20%|##        | a=1\r 30%|###       | a=2
val_a=7 a=2, step=2
{'a': 3,
 'step': 3}
INFO: {"a": nan}\r
a = 4"""


def taken(metrics: Any, pieces: list[bytes]) -> list[tuple[int, Any]]:
    reported: list[Measurement] = []
    with TemporaryDirectory() as directory, log_file(Path(directory) / "log") as log:
        printed = PrintedMetrics(log, notation(metrics), ("a",), Measurements(trial(steps=10), reported.append))
        for piece in pieces:
            printed.receive(piece)
            printed.follow()
        printed.finish()
        assert (Path(directory) / "log").read_bytes() == b"".join(pieces)
    return [(measurement.step, spelled(measurement.metrics["a"])) for measurement in reported]


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ("stdout", [(3, 3), (10, "nan")]),
        ("name=value", [(10, 1), (10, 2), (2, 2), (10, 4)]),
        ({"a": r"\ba ?= ?(\d+)", "step": r"step=(\d)"}, [(10, 1), (10, 2), (2, 2), (2, 4)]),
    ],
)
@given(cuts=st.lists(st.integers(0, len(OUTPUT)), max_size=20))
def test_any_batching_of_the_same_output_gives_the_same_measurements(metrics: Any, expected: list[Any], cuts: list[int]) -> None:
    assert taken(metrics, cut(OUTPUT, cuts)) == expected


def test_without_any_line_that_has_the_metric_the_last_one_with_values_names_its_own() -> None:
    reported: list[Measurement] = []
    with TemporaryDirectory() as directory, log_file(Path(directory) / "log") as log:
        printed = PrintedMetrics(log, ObjectLines(), ("a",), Measurements(trial(), reported.append))
        printed.receive(b'{"b": 1}\n{"c": 1}\n')
        printed.finish()
    assert [dict(m.metrics) for m in reported] == [{"c": 1}]
