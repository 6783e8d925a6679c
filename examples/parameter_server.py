"""A parameter server and its workers learn to read handwritten digits.

The classic layout of distributed training.  An actor, the parameter server, holds the
weights of a classifier.  Workers, actors as well, hold a part of the data each; they take
weights, compute the gradient of a few examples, and hand it to the server, which applies it.
Two ways of doing so are compared:

synchronous
    All workers compute a gradient of the same weights.  The server applies their mean; an
    update has the gradients of all, and waits for the slowest.
asynchronous
    A worker that is done does not wait for the others: the server applies its gradient, and
    the worker goes on with the weights as they are then.  An update has one gradient, of
    weights that others have changed in the meantime: the staler, the shorter the step.

The driver only passes references on.  Weights and gradients go from actor to actor through
the object store, and no line of this file says so.

    pip install scikit-learn
    python examples/parameter_server.py
    python examples/parameter_server.py --mode async --workers 8 --updates 2000
    python examples/parameter_server.py --help

The classifier is a small network in plain numpy; the digits, 1,797 pictures of 8 x 8
pixels, come with scikit-learn.  With one seed the synchronous training ends with the same
weights each time; the asynchronous one depends on who is first.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

# Before numpy is imported, here and (by inheritance) in every worker: a thread pool for each
# of them would only get in the others' way.
for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402

import rayc  # noqa: E402

Array = npt.NDArray[Any]
Weights = dict[str, Array]
# Weights after so many updates, or a gradient of them. Not a class of this file: with each of
# its objects that class itself would travel, which costs more than all else here.
Versioned = tuple[Weights, int]

PIXELS = 8 * 8
BRIGHTEST = 16
DIGITS = 10
TEST_PART = 0.2


@dataclasses.dataclass(frozen=True)
class Settings:
    """What server and workers need to know."""

    seed: int = 0
    hidden: int = 64
    batch: int = 64
    learning_rate: float = 0.2
    momentum: float = 0.5


# The classifier -----------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Examples:
    """Pictures, a row each, and the digits that they show."""

    pictures: Array
    digits: Array

    def __len__(self) -> int:
        return len(self.digits)

    def __getitem__(self, rows: Array | slice) -> Examples:
        return Examples(self.pictures[rows], self.digits[rows])


def load_examples(seed: int) -> tuple[Examples, Examples]:
    """Return examples to learn from, and others to test with, in random order."""
    from sklearn.datasets import load_digits

    pictures, digits = load_digits(return_X_y=True)
    order = np.random.default_rng([seed, 0]).permutation(len(digits))
    examples = Examples((pictures / BRIGHTEST).astype(np.float32), digits)[order]
    tests = int(TEST_PART * len(examples))
    return examples[tests:], examples[:tests]


def new_weights(settings: Settings) -> Weights:
    """Return the weights of an untrained network with one hidden layer."""
    rng = np.random.default_rng([settings.seed, 1])

    def layer(inputs: int, outputs: int) -> Array:
        values: Array = rng.standard_normal((inputs, outputs)) * np.sqrt(2 / inputs)
        return values.astype(np.float32)

    return {
        "w1": layer(PIXELS, settings.hidden),
        "b1": np.zeros(settings.hidden, np.float32),
        "w2": layer(settings.hidden, DIGITS),
        "b2": np.zeros(DIGITS, np.float32),
    }


def hidden_layer(weights: Weights, pictures: Array) -> Array:
    """Return the activations, a row a picture."""
    activations: Array = np.maximum(pictures @ weights["w1"] + weights["b1"], 0)
    return activations


def scores(weights: Weights, hidden: Array) -> Array:
    """Return how much each picture looks like each digit."""
    result: Array = hidden @ weights["w2"] + weights["b2"]
    return result


def accuracy(weights: Weights, examples: Examples) -> float:
    """Return the part of the examples whose digit is recognized."""
    guesses = scores(weights, hidden_layer(weights, examples.pictures)).argmax(axis=1)
    return float(np.mean(guesses == examples.digits))


def gradient(weights: Weights, examples: Examples) -> Weights:
    """Return the gradient of the mean cross-entropy."""
    hidden = hidden_layer(weights, examples.pictures)
    score = scores(weights, hidden)
    probability = np.exp(score - score.max(axis=1, keepdims=True))
    probability /= probability.sum(axis=1, keepdims=True)
    probability[np.arange(len(examples)), examples.digits] -= 1
    d_score = probability / len(examples)
    d_hidden = (d_score @ weights["w2"].T) * (hidden > 0)
    return {
        "w1": examples.pictures.T @ d_hidden,
        "b1": d_hidden.sum(axis=0),
        "w2": hidden.T @ d_score,
        "b2": d_score.sum(axis=0),
    }


# The actors ---------------------------------------------------------------------------


@rayc.remote
class ParameterServer:
    """Holds the weights, and changes them by the gradients that it is given.

    Parameters
    ----------
    settings : Settings
        Of the training.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.values = new_weights(settings)
        self.velocity = {name: np.zeros_like(array) for name, array in self.values.items()}
        self.version = 0

    def weights(self) -> Versioned:
        """Return the weights as they are now."""
        return self.values, self.version

    def apply(self, *gradients: Versioned) -> Versioned:
        """Take a step against the mean of the gradients; return the weights after it."""
        # Full steps along gradients of old weights would lead nowhere, with many workers.
        stale = max(self.version - version for _, version in gradients)
        rate = self.settings.learning_rate / (1 + stale)
        for name, velocity in self.velocity.items():
            mean = sum(values[name] for values, _ in gradients) / len(gradients)
            velocity *= self.settings.momentum
            velocity -= rate * mean
            self.values[name] = self.values[name] + velocity
        self.version += 1
        return self.weights()


@rayc.remote
class Worker:
    """Computes gradients of its part of the examples.

    Parameters
    ----------
    settings : Settings
        Of the training.
    index : int
        This worker's number.
    examples : Examples
        Its part.
    """

    def __init__(self, settings: Settings, index: int, examples: Examples) -> None:
        self.batch = min(settings.batch, len(examples))
        self.rng = np.random.default_rng([settings.seed, 2, index])
        self.examples = examples

    def ready(self) -> bool:
        """Return True, once the examples are here."""
        return True

    def gradient(self, weights: Versioned) -> Versioned:
        """Return the gradient of some examples, taken at random."""
        rows = self.rng.choice(len(self.examples), self.batch, replace=False)
        values, version = weights
        return gradient(values, self.examples[rows]), version


# The two ways -------------------------------------------------------------------------


class Progress:
    """A bar that stays on its line on a terminal, and is a few lines elsewhere."""

    def __init__(self, name: str, total: int) -> None:
        self.name = name
        self.total = total
        self.tty = sys.stderr.isatty()
        self.shown = -1
        self.begin = time.perf_counter()

    def show(self, updates: int) -> None:
        """Show how many updates are over."""
        parts = 20 if self.tty else 4
        done = parts * updates // self.total
        if done == self.shown:
            return
        self.shown = done
        rate = updates / (time.perf_counter() - self.begin + 1e-9)
        bar = "#" * (20 * done // parts)
        text = f"{self.name:12} [{bar:.<20}] {updates}/{self.total}  {rate:,.0f} updates/s"
        if self.tty:
            width = shutil.get_terminal_size().columns - 1
            text = "\r" + text[:width].ljust(width)
        sys.stderr.write(text if self.tty and updates < self.total else text + "\n")
        sys.stderr.flush()


def train_synchronously(server: Any, workers: Sequence[Any], updates: int) -> None:
    """Let all workers take part in every update."""
    progress = Progress("synchronous", updates)
    weights = server.weights.remote()
    for update in range(1, updates + 1):
        # Nothing is waited for: whatever needs the weights starts when they are there.
        gradients = [worker.gradient.remote(weights) for worker in workers]
        weights = server.apply.remote(*gradients)
        if update % 8 == 0 or update == updates:  # not too far ahead, and to show where we are
            rayc.wait([weights])
            progress.show(update)
    rayc.get(weights)


def train_asynchronously(server: Any, workers: Sequence[Any], updates: int) -> None:
    """Let every gradient be an update."""
    progress = Progress("asynchronous", updates)
    weights = server.weights.remote()
    # From a gradient that is being applied, as the weights after it, to its worker.
    pending = {server.apply.remote(worker.gradient.remote(weights)): worker for worker in workers}
    last = []
    for update in range(1, updates + 1):
        (weights,), _ = rayc.wait(list(pending), num_returns=1)
        worker = pending.pop(weights)
        if update + len(pending) < updates:
            pending[server.apply.remote(worker.gradient.remote(weights))] = worker
        else:
            last.append(weights)
        progress.show(update)
    rayc.get(last)  # what went wrong with a worker's gradient has gone through all that followed


MODES = {"sync": train_synchronously, "async": train_asynchronously}


@dataclasses.dataclass(frozen=True)
class Result:
    """How a training went."""

    accuracy: float
    updates_per_s: float
    gradients_per_s: float


def train(mode: str, options: argparse.Namespace, settings: Settings) -> Result:
    """Train from scratch, and test."""
    examples, tests = load_examples(settings.seed)
    server = ParameterServer.remote(settings)
    workers = [
        Worker.remote(settings, index, examples[index :: options.workers])
        for index in range(options.workers)
    ]
    rayc.get([worker.ready.remote() for worker in workers])
    # An update of one gradient does less than one of many: as many gradients for both.
    updates = options.updates * (options.workers if mode == "async" else 1)
    begin = time.perf_counter()
    MODES[mode](server, workers, updates)
    elapsed = time.perf_counter() - begin
    weights, _ = rayc.get(server.weights.remote())
    return Result(
        accuracy=accuracy(weights, tests),
        updates_per_s=updates / elapsed,
        gradients_per_s=options.updates * options.workers / elapsed,
    )


# The program --------------------------------------------------------------------------


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the command line's options."""
    own = Settings()
    parser = argparse.ArgumentParser(
        description="Learn to read digits with a parameter server and workers."
    )
    option = parser.add_argument
    option("--mode", choices=[*MODES, "both"], default="both", help="default: both")
    option("--workers", type=positive(int), default=4, metavar="N", help="default: 4")
    option(
        "--updates",
        type=positive(int),
        default=300,
        metavar="N",
        help="synchronous ones; asynchronous ones are as many for each worker; default: 300",
    )
    option(
        "--batch",
        type=positive(int),
        default=own.batch,
        metavar="N",
        help=f"examples of a gradient; default: {own.batch}",
    )
    option(
        "--hidden",
        type=positive(int),
        default=own.hidden,
        metavar="N",
        help=f"width of the hidden layer; default: {own.hidden}",
    )
    option(
        "--learning-rate",
        type=positive(float),
        default=own.learning_rate,
        metavar="X",
        help=f"default: {own.learning_rate}",
    )
    option(
        "--momentum", type=float, default=own.momentum, metavar="X", help=f"default: {own.momentum}"
    )
    option("--seed", type=int, default=own.seed, metavar="N", help=f"default: {own.seed}")
    option(
        "--cpus",
        type=positive(int),
        metavar="N",
        help="CPUs for the runtime; default: those that this process may use",
    )
    return parser.parse_args(arguments)


def positive(kind: Callable[[str], float]) -> Callable[[str], float]:
    """Return a converter of options that takes numbers above 0 only."""

    def convert(text: str) -> float:
        value = kind(text)
        if not value > 0:
            raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
        return value

    convert.__name__ = kind.__name__
    return convert


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    options = parse_arguments(arguments)
    if importlib.util.find_spec("sklearn") is None:
        sys.exit(
            "parameter_server.py needs scikit-learn, not installed here: pip install scikit-learn"
        )
    settings = Settings(**{f.name: getattr(options, f.name) for f in dataclasses.fields(Settings)})
    rayc.init(num_cpus=options.cpus)
    try:
        for mode in MODES if options.mode == "both" else [options.mode]:
            result = train(mode, options, settings)
            print(
                f"{mode}: test accuracy {result.accuracy:.3f},"
                f" {result.updates_per_s:,.0f} updates/s,"
                f" {result.gradients_per_s:,.0f} gradients/s",
                flush=True,
            )
    except KeyboardInterrupt:
        return 130
    finally:
        rayc.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
