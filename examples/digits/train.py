"""Trains a small network on handwritten digits, a few steps at a time: an ordinary script, independent of broodline.

    python train.py --steps=100 --lr=0.1 --save=one
    python train.py --steps=100 --start=100 --lr=0.05 --resume=one --save=two

Writes the weights and their velocities to `weights.npz` in the directory of `--save`, and the validation loss and accuracy to
standard output, as one line of JSON.
"""

import argparse
import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np

HIDDEN = 64
TRAIN, VALIDATION, TEST = slice(0, 900), slice(900, 1350), slice(1350, None)

Arrays = dict[str, np.ndarray]


def digits(part: slice) -> tuple[np.ndarray, np.ndarray]:
    """The 8x8 images (count, 64), from 0 to 1, and the labels (count,) of one part of the data. The split is fixed."""
    # The file that `sklearn.datasets.load_digits` reads: importing scikit-learn takes ten times as long as a trial.
    file = Path(find_spec("sklearn").origin).parent / "datasets/data/digits.csv.gz"
    table = np.loadtxt(file, delimiter=",", dtype=np.float32)
    rows = table[np.random.default_rng(0).permutation(len(table))[part]]
    return rows[:, :-1] / 16, rows[:, -1].astype(int)


def build(rng: np.random.Generator) -> Arrays:
    """A network with one hidden layer, and the velocity of each of its weights."""
    weights = {
        "w1": rng.normal(0, (2 / 64) ** 0.5, (64, HIDDEN)),
        "b1": np.zeros(HIDDEN),
        "w2": rng.normal(0, (2 / HIDDEN) ** 0.5, (HIDDEN, 10)),
        "b2": np.zeros(10),
    }
    return weights | {f"velocity_{name}": np.zeros_like(array) for name, array in weights.items()}


def load(directory: Path) -> Arrays:
    """Reads a network that `save` wrote."""
    with np.load(directory / "weights.npz") as file:
        return dict(file)


def save(net: Arrays, directory: Path) -> None:
    """Writes the network to a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    np.savez(directory / "weights.npz", **net)


def log_softmax(scores: np.ndarray) -> np.ndarray:
    """The logarithms of the probabilities of the ten digits."""
    scores = scores - scores.max(axis=1, keepdims=True)
    return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


def gradients(net: Arrays, images: np.ndarray, labels: np.ndarray, kept: np.ndarray) -> Arrays:
    """The gradient of the cross-entropy; `kept` holds the dropout factor of each hidden unit."""
    hidden = np.maximum(images @ net["w1"] + net["b1"], 0) * kept
    error = np.exp(log_softmax(hidden @ net["w2"] + net["b2"]))
    error[np.arange(len(labels)), labels] -= 1
    error /= len(labels)
    back = (error @ net["w2"].T) * (hidden > 0) * kept
    return {"w1": images.T @ back, "b1": back.sum(axis=0), "w2": hidden.T @ error, "b2": error.sum(axis=0)}


def train(net: Arrays, steps: int, args: argparse.Namespace, rng: np.random.Generator) -> None:
    """Stochastic gradient descent with momentum, weight decay and dropout, in place."""
    images, labels = digits(TRAIN)
    for _ in range(steps):
        batch = rng.integers(len(labels), size=args.batch_size)
        kept = (rng.random((args.batch_size, HIDDEN)) >= args.dropout) / (1 - args.dropout)
        for name, gradient in gradients(net, images[batch], labels[batch], kept).items():
            velocity = net[f"velocity_{name}"]
            velocity *= args.momentum
            velocity -= args.lr * (gradient + args.weight_decay * net[name])
            net[name] += velocity


def evaluate(net: Arrays, part: slice) -> dict[str, float]:
    """The mean cross-entropy, in nats, and the accuracy on one part of the data."""
    images, labels = digits(part)
    logs = log_softmax(np.maximum(images @ net["w1"] + net["b1"], 0) @ net["w2"] + net["b2"])
    return {
        "loss": float(-logs[np.arange(len(labels)), labels].mean()),
        "accuracy": float((logs.argmax(axis=1) == labels).mean()),
    }


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--momentum", type=float, default=0.0)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--weight-decay", type=float, default=0.0)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--steps", type=int, default=100, help="steps to train")
    parser.add_argument("--start", type=int, default=0, help="step at which training starts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", type=Path, metavar="DIR", help="directory of the weights to resume")
    parser.add_argument("--save", type=Path, metavar="DIR", required=True, help="directory to save the weights to")
    return parser.parse_args()


def main() -> None:
    """Builds or loads, trains, saves, evaluates."""
    args = arguments()
    rng = np.random.default_rng(args.seed)
    net = load(args.resume) if args.resume else build(rng)
    with np.errstate(over="ignore", invalid="ignore"):  # the loss shows that a run diverged
        train(net, args.steps, args, rng)
        metrics = evaluate(net, VALIDATION)
    save(net, args.save)
    print(json.dumps({"step": args.start + args.steps, **metrics}))


if __name__ == "__main__":
    main()
