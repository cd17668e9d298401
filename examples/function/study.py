"""A study of a Python function: `python study.py`. A step is an epoch of scikit-learn's linear classifier."""

import joblib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split

import broodline

images, labels = load_digits(return_X_y=True)
train_images, images, train_labels, labels = train_test_split(images / 16, labels, test_size=0.3, random_state=0)


def train(trial: broodline.RunningTrial) -> dict[str, float]:
    """Trains the steps of one trial, from the checkpoint of its parent."""
    model = joblib.load(trial.restore_from / "model") if trial.restore_from else SGDClassifier(loss="log_loss")
    model.set_params(learning_rate="constant", eta0=trial.params["lr"], alpha=trial.params["alpha"])  # after loading
    for _ in range(trial.steps):
        model.partial_fit(train_images, train_labels, classes=np.arange(10))
    joblib.dump(model, trial.save_to / "model")
    return {"accuracy": model.score(images, labels)}


def main() -> None:
    """Runs or resumes the study, and prints the best schedule."""
    study = broodline.Study(
        name="digits-function",
        trial_steps=5,
        population=8,
        space={"lr": broodline.Float(1e-5, 1.0, log=True), "alpha": broodline.Float(1e-6, 0.1, log=True)},
        objective={"accuracy": "maximize"},
    )
    result = study.run(train, workers=2, budget=broodline.Budget(trials=64))
    print(result.best.metrics, result.best.checkpoint)
    print(result.best.schedule())


if __name__ == "__main__":
    main()
