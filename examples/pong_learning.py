"""What the driver of `pong.py` keeps: the learner's state, its checkpoint and its curve.

Nothing here knows of the game or of the runtime, and no actor needs it.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Weights = dict[str, Array]

GAMES_KEPT = 100
CURVE = ("iteration", "frames", "reward", "entropy", "frames_per_s", "runtime_share")
REWARD, ENTROPY = CURVE.index("reward"), CURVE.index("entropy")
CHECKPOINT_VERSION = 1


# The learner --------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class State:
    """A training between two iterations; never changed, but replaced as a whole.

    So an interrupt, whenever it comes, finds a state that can be saved.
    """

    weights: Weights
    mean: Weights  # Adam's running mean of the gradient
    square: Weights  # and of its square
    games: tuple[bytes, ...]  # each player's game and random numbers; b"": not begun
    iteration: int = 0
    scores: tuple[float, ...] = ()  # of the last games
    curve: tuple[tuple[float, ...], ...] = ()  # a row an iteration, columns CURVE

    @classmethod
    def new(cls, weights: Weights, actors: int) -> State:
        """Return a training that has not begun."""
        zeros = {name: np.zeros_like(array) for name, array in weights.items()}
        return cls(weights, zeros, zeros, (b"",) * actors)

    def with_actors(self, actors: int) -> State:
        """Return this training with more games, or with fewer."""
        games = self.games[:actors] + (b"",) * (actors - len(self.games))
        return dataclasses.replace(self, games=games)

    def column(self, name: str) -> Array:
        """Return a column of the curve."""
        return np.array([row[CURVE.index(name)] for row in self.curve])


def adam(state: State, gradient: Weights, rate: float) -> tuple[Weights, Weights, Weights]:
    """Return weights, mean and square after a step uphill along a gradient."""
    count = state.iteration + 1
    scale = rate * np.sqrt(1 - 0.999**count) / (1 - 0.9**count)
    weights: Weights = {}
    mean: Weights = {}
    square: Weights = {}
    for name, g in gradient.items():
        mean[name] = 0.9 * state.mean[name] + 0.1 * g
        square[name] = 0.999 * state.square[name] + 0.001 * g * g
        change = scale * mean[name] / (np.sqrt(square[name]) + 1e-8)
        weights[name] = (state.weights[name] + change).astype(state.weights[name].dtype)
    return weights, mean, square


class OrderedSum:
    """Adds up gradients in the order of the players, in whatever order they come.

    A floating-point sum depends on the order of its terms, and a training must not
    depend on which actor was the faster one.
    """

    def __init__(self, like: Weights) -> None:
        self.total = {name: np.zeros_like(array) for name, array in like.items()}
        self.early: dict[int, Weights] = {}
        self.next = 0

    def add(self, index: int, gradients: Weights) -> None:
        """Add a player's gradient, as soon as those before it are there."""
        self.early[index] = gradients
        while self.next in self.early:
            for name, array in self.early.pop(self.next).items():
                self.total[name] += array
            self.next += 1


@dataclasses.dataclass
class Times:
    """Core-seconds of one iteration or of many; `pong.py`'s docstring defines them."""

    wall: float = 0.0  # seconds on the clock
    offered: float = 0.0
    work: float = 0.0
    waiting: float = 0.0
    frames: int = 0

    def __iadd__(self, other: Times) -> Times:
        """Add other iterations to these."""
        for field in dataclasses.fields(self):
            total = getattr(self, field.name) + getattr(other, field.name)
            setattr(self, field.name, total)
        return self

    def shares(self) -> tuple[float, float, float]:
        """Return the shares of work, waiting, and runtime."""
        offered = self.offered or 1.0
        work, waiting = self.work / offered, self.waiting / offered
        return work, waiting, max(0.0, 1 - work - waiting)

    def frames_per_s(self) -> float:
        """Return the frames played in a second on the clock."""
        return self.frames / (self.wall or 1.0)


# The checkpoint -----------------------------------------------------------------------


class CheckpointError(Exception):
    """A file that no training can go on from."""


def save_checkpoint(path: Path, state: State) -> None:
    """Write a training to a file, which afterwards is the old one or the new one."""
    arrays: dict[str, Any] = {
        "version": CHECKPOINT_VERSION,
        "iteration": state.iteration,
        "scores": np.array(state.scores, np.float64),
        "curve": np.array(state.curve, np.float64).reshape(-1, len(CURVE)),
    }
    for kind in ("weights", "mean", "square"):
        for name, array in getattr(state, kind).items():
            arrays[f"{kind}.{name}"] = array
    for index, game in enumerate(state.games):
        arrays[f"game.{index}"] = np.frombuffer(game, np.uint8)
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with new.open("wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def load_checkpoint(path: Path) -> State:
    """Read a training from a file.

    The emulators' states in it are pickled: read only files that you trust.

    Raises
    ------
    CheckpointError
        If the file is damaged, or no checkpoint.
    """
    try:
        with np.load(path) as file:
            if int(file["version"]) != CHECKPOINT_VERSION:
                raise CheckpointError(f"{path} comes from another version of this program")

            def part(kind: str) -> Weights:
                names = [name for name in file.files if name.startswith(kind + ".")]
                return {name.partition(".")[2]: file[name] for name in names}

            games = part("game")
            return State(
                weights=part("weights"),
                mean=part("mean"),
                square=part("square"),
                games=tuple(games[str(i)].tobytes() for i in range(len(games))),
                iteration=int(file["iteration"]),
                scores=tuple(file["scores"].tolist()),
                curve=tuple(tuple(row) for row in file["curve"].tolist()),
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path} is no checkpoint of this program: {error}") from error


# What the user sees -------------------------------------------------------------------


def reading(state: State) -> str:
    """Return the means of the last ten iterations, and of the last games, as text."""
    reward, _, frames_per_s, share = np.mean(np.array(state.curve[-10:])[:, REWARD:], axis=0)
    games = f"{np.mean(state.scores):+.1f}" if state.scores else "none yet"
    return f"reward {reward:+.3f}  games {games}  {frames_per_s:,.0f} frames/s  runtime {share:.1%}"


class Progress:
    """A bar that stays on its line on a terminal, and is a line an iteration elsewhere."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = sys.stderr if stream is None else stream
        self.tty = self.stream.isatty()

    def show(self, fraction: float, state: State) -> None:
        """Show that a part of the training, from 0 to 1, is over."""
        done = round(20 * min(1.0, fraction))
        text = f"[{'#' * done}{'.' * (20 - done)}] {state.iteration}  {reading(state)}"
        if self.tty:
            width = shutil.get_terminal_size().columns - 1
            self.stream.write("\r" + text[:width].ljust(width))
        else:
            self.stream.write(text + "\n")
        self.stream.flush()

    def end(self) -> None:
        """Leave the bar's line."""
        if self.tty:
            self.stream.write("\n")
            self.stream.flush()


def plot(path: Path, state: State, smooth: int = 20) -> None:
    """Draw the learning curve into a PNG."""
    from matplotlib.figure import Figure

    frames, reward = state.column("frames"), state.column("reward")
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(frames, reward, linewidth=0.8, alpha=0.4, label="each iteration")
    if len(reward) >= smooth:
        mean = np.convolve(reward, np.full(smooth, 1 / smooth), mode="valid")
        axes.plot(frames[smooth - 1 :], mean, label=f"mean of {smooth} iterations")
    axes.set(
        title="Pong: points won minus points lost, a point",
        xlabel="frames",
        ylabel="reward",
    )
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, format="png", dpi=120)
