"""A schedule for Keras 3, with any of its backends."""

from __future__ import annotations

from typing import Any

try:
    import keras
    from keras import ops
except ModuleNotFoundError as error:
    needs = f"broodline.integrations.keras needs {error.name}: pip install 'broodline[keras]'"
    raise ModuleNotFoundError(needs, name=error.name) from None

from broodline.config.schedule_formats import from_document
from broodline.core.schedule import Schedule


@keras.saving.register_keras_serializable(package="broodline")
class LearnedSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule as the learning rate of an optimizer; it is saved with a model, and loaded with it once this module is imported.

    Keras counts updates from 0. Where training goes on from a step, or a step is more or less than an update, give it
    `schedule.shift(...)` or `schedule.rescale(...)`.

    Args:
        schedule: The schedule.
        param: Which of its params, a number everywhere.

    Raises:
        UsageError: The schedule has no such param, or not everywhere as a number.

    Example:
        >>> keras.optimizers.SGD(LearnedSchedule(broodline.load_schedule("schedule.json")))  # doctest: +SKIP
    """

    def __init__(self, schedule: Schedule, param: str = "lr") -> None:
        super().__init__()
        self.schedule, self.param = schedule, param
        self._starts, self._values = schedule.numbers(param)

    def __call__(self, step: Any) -> Any:
        """The learning rate of an update, a tensor."""
        begun = ops.cast(step, "int64") >= ops.convert_to_tensor(self._starts, "int64")
        index = ops.sum(ops.cast(begun, "int32")) - 1
        return ops.take(ops.convert_to_tensor(self._values, keras.config.floatx()), index)

    def get_config(self) -> dict[str, Any]:
        """The arguments as JSON values."""
        return {"schedule": self.schedule.document(), "param": self.param}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> LearnedSchedule:
        """The schedule of a configuration.

        Raises:
            ScheduleError: It has none.
        """
        return cls(from_document(config["schedule"], "LearnedSchedule"), config["param"])
