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
    """A schedule as the learning rate of an optimizer; Keras saves and loads it with a model.

    Import this module before you load such a model. Keras counts updates from 0. If training resumes at a later step, or if a
    step is not one update, pass `schedule.shift(...)` or `schedule.rescale(...)`.

    Args:
        schedule: The schedule.
        param: The hyperparameter, a number in every segment.

    Raises:
        UsageError: The schedule does not have this hyperparameter as a number in every segment.

    Example:
        >>> keras.optimizers.SGD(LearnedSchedule(broodline.load_schedule("schedule.json")))  # doctest: +SKIP
    """

    def __init__(self, schedule: Schedule, param: str = "lr") -> None:
        super().__init__()
        self.schedule, self.param = schedule, param
        self._starts, self._values = schedule.numbers(param)

    def __call__(self, step: Any) -> Any:
        """The learning rate of an update, as a tensor."""
        begun = ops.cast(step, "int64") >= ops.convert_to_tensor(self._starts, "int64")
        index = ops.sum(ops.cast(begun, "int32")) - 1
        return ops.take(ops.convert_to_tensor(self._values, keras.config.floatx()), index)

    def get_config(self) -> dict[str, Any]:
        """The arguments as JSON values."""
        return {"schedule": self.schedule.document(), "param": self.param}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> LearnedSchedule:
        """Makes the schedule of a saved configuration.

        Raises:
            ScheduleError: The configuration holds no valid schedule.
        """
        return cls(from_document(config["schedule"], "LearnedSchedule"), config["param"])
