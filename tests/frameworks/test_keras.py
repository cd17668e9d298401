"""Schedules in Keras 3, with each backend that `make frameworks` installs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from frameworks.schedules import LEARNED, RATES

pytestmark = pytest.mark.frameworks

# A process of its own, because Keras takes its backend when it is imported.
PROGRAM = """
import json, sys
import keras, numpy
from broodline.integrations.keras import LearnedSchedule
from broodline.errors import ScheduleError, UsageError
from frameworks.schedules import LEARNED, STEPS

learned = LearnedSchedule(LEARNED)
told = {"backend": keras.backend.backend(), "values": [float(learned(step)) for step in STEPS]}

# A layer whose loss is minus its weight: an update of plain SGD moves it by the learning rate.
class Weight(keras.layers.Layer):
    def build(self, shape):
        self.weight = self.add_weight(shape=(), initializer="zeros")
    def call(self, inputs):
        return inputs * 0 + self.weight

def compiled(rate):
    model = keras.Sequential([keras.Input((1,)), Weight()])
    model.compile(optimizer=keras.optimizers.SGD(rate), loss=lambda true, guess: -guess)
    return model

ones = numpy.ones((1, 1))
def trained(model, updates):
    moves = []
    for _ in range(updates):
        before = float(model.layers[-1].weight.value)
        model.fit(ones, ones, verbose=0)
        moves.append(float(model.layers[-1].weight.value) - before)
    return moves

told["moves"] = trained(compiled(learned), len(STEPS))

again = keras.saving.deserialize_keras_object(json.loads(json.dumps(keras.saving.serialize_keras_object(learned))))
told["again"] = again.schedule == LEARNED and again.param == "lr"

optimizer = keras.optimizers.SGD.from_config(json.loads(json.dumps(keras.optimizers.SGD(learned).get_config())))
told["optimizer"] = [float(optimizer._learning_rate(step)) for step in STEPS]

def halves(path):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.SGD(learned), loss="mse")
    model.fit(ones, ones, verbose=0)
    for _ in range(3):
        model.fit(ones, ones, verbose=0)
    model.save(path)
    loaded = keras.saving.load_model(path)
    return [int(loaded.optimizer.iterations), float(loaded.optimizer.learning_rate)]
told["loaded"] = halves(sys.argv[1])

told["refused"] = []
for make in (lambda: LearnedSchedule(LEARNED, "optimizer"), lambda: LearnedSchedule.from_config({"schedule": {}, "param": "lr"})):
    try:
        make()
    except (ScheduleError, UsageError) as error:
        told["refused"].append(str(error))
print(json.dumps(told))
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_keras_trains_with_saves_and_loads_a_schedule(backend: str, tmp_path: Path) -> None:
    tests = Path(__file__).parents[1]
    paths = [str(tests.parent / "src"), str(tests)]
    environment = os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": os.pathsep.join(paths), "KERAS_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "model.keras")], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["backend"] == backend
    assert told["values"] == told["optimizer"] == pytest.approx(RATES, rel=1e-6)
    assert told["moves"] == pytest.approx(RATES, abs=1e-6)
    assert told["again"] is True
    assert told["loaded"] == [4, pytest.approx(LEARNED(4)["lr"], rel=1e-6)]
    assert len(told["refused"]) == 2
    assert told["refused"][0] == "the param 'optimizer' must be a number, got 'sgd' from step 0 on"
    assert told["refused"][1].startswith("LearnedSchedule: segments: is missing")
