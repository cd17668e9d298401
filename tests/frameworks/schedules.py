"""Schedules for the tests against real frameworks."""

from __future__ import annotations

from broodline.core.schedule import Schedule, Segment

LEARNED = Schedule(
    segments=(
        Segment(start=0, params={"lr": 0.1, "momentum": 0.9, "optimizer": "sgd"}),
        Segment(start=3, params={"lr": 0.12, "momentum": 0.8, "optimizer": "sgd"}),
        Segment(start=4, params={"lr": 1e-5, "momentum": 0.8, "optimizer": "sgd"}),
        Segment(start=9, params={"lr": 0.3000000000000001, "momentum": 0.5, "optimizer": "sgd"}),
    ),
    end=12,
)
STEPS = range(15)  # some after the end, where the last segment stays
RATES = [LEARNED(step)["lr"] for step in STEPS]
