"""A resident program: it trains one trial after another. A step is an epoch of scikit-learn's linear classifier."""

import joblib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split

import broodline

images, labels = load_digits(return_X_y=True)
train_images, images, train_labels, labels = train_test_split(images / 16, labels, test_size=0.3, random_state=0)
classes = np.unique(labels)

for trial in broodline.trials():
    with trial:
        model = joblib.load(trial.restore_from / "model") if trial.restore_from else SGDClassifier(loss="log_loss")
        model.set_params(  # after loading, because the checkpoint brings the parent's
            learning_rate="constant",
            eta0=trial.params["lr"],
            alpha=trial.params["alpha"],
            penalty=trial.params["penalty"],
            random_state=trial.seed,
        )
        for step in range(trial.start + 1, trial.start + trial.steps + 1):
            model.partial_fit(train_images, train_labels, classes=classes)
            trial.report(step=step, accuracy=model.score(images, labels))
        joblib.dump(model, trial.save_to / "model")
