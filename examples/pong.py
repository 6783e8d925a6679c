"""Ten actors play Atari Pong, and a policy learns from all of them.

A policy-gradient learner in plain numpy.  Each `RolloutWorker` is an actor that
holds a real emulator.  In every iteration the driver puts the policy's weights into
the object store once, and hands the reference to all actors; each plays on from where
its game stood, computes the gradient of what it played, and returns that.  The driver
takes the gradients as they come, and applies their mean with Adam.

    pip install gymnasium ale-py
    python examples/pong.py --demo              # about two minutes
    python examples/pong.py --iterations 2000   # learns; Ctrl-C, and go on later
    python examples/pong.py --help

The policy sees what changed between two pictures (6,400 pixels, most of them 0),
through one hidden layer, and says how likely "up" is; the other action is "down".

Words used here and in the output:

frame
    One picture that the policy answered.  The emulator runs four of its own for each.
reward
    Mean over the points that ended: -1 if all were lost, +1 if all were won.  "games" is
    the mean final score of the last 100 games, from -21 to 21.
runtime share
    The part of the machine's time that no one used for the job itself.  With k cores
    in use (the CPUs, or the actors if these are fewer), an iteration of `wall` seconds
    has k * wall core-seconds to give.  Subtracted from these are *work*, the CPU time of
    playing and of gradients, which the actors measure, and that of adding up and applying
    them, which the driver measures; and *waiting*, the core-seconds for which fewer than k
    actors had something to do at the end of the iteration, the driver's own work then
    excepted: that is a price of this algorithm.  All of the rest is charged to the runtime:
    moving weights and gradients, dispatch, sleeping too long; and also what other programs
    took from us, so that on a busy machine it is an upper bound.

Equal seeds give equal weights, whatever order the actors finish in, and a training that
was interrupted continues as if it had not been.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

# Before numpy is imported, here and (by inheritance) in every worker: ten actors
# with a thread pool each would only get in each other's way.
for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np  # noqa: E402
from pong_learning import (  # noqa: E402
    ENTROPY,
    GAMES_KEPT,
    REWARD,
    Array,
    CheckpointError,
    OrderedSum,
    Progress,
    State,
    Times,
    Weights,
    adam,
    load_checkpoint,
    plot,
    save_checkpoint,
)

import rayc  # noqa: E402

PIXELS = 80 * 80
BACKGROUND = 87  # the grey of the empty court
UP, DOWN = 2, 3  # of the emulator's six actions, those that move the paddle
NOOP = 0
POINT_FRAMES_MAX = 2000  # a rollout waits this much longer for its last point to end


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the actors and the learner need to know."""

    seed: int = 0
    steps: int = 500
    hidden: int = 200
    gamma: float = 0.99
    learning_rate: float = 4e-3


# The policy ---------------------------------------------------------------------------


def new_weights(settings: Settings) -> Weights:
    """Return the weights of an untrained policy."""
    rng = np.random.default_rng([settings.seed, 0])
    hidden = settings.hidden
    # A picture differs from the one before in some 40 pixels, hence the first scale.
    return {
        "w1": (rng.standard_normal((PIXELS, hidden)) / np.sqrt(40)).astype(np.float32),
        "b1": np.zeros(hidden, np.float32),
        "w2": (0.1 * rng.standard_normal(hidden) / np.sqrt(hidden)).astype(np.float32),
        "b2": np.zeros(1, np.float32),
    }


def court(screen: Array) -> Array:
    """Return the court as 80 x 80 booleans: True for paddles and ball."""
    pixels: Array = (screen[34:194:2, ::2] != BACKGROUND).ravel()
    return pixels


def difference(now: Array, before: Array) -> tuple[Array, Array]:
    """Return the pixels that changed, and for each +1 (appeared) or -1 (vanished)."""
    where = np.flatnonzero(now != before)
    return where, np.where(now[where], np.float32(1), np.float32(-1))


def hidden_layer(weights: Weights, where: Array, sign: Array) -> Array:
    """Return the hidden layer's activations; only the pixels that changed cost time."""
    layer: Array = np.maximum(sign @ weights["w1"][where] + weights["b1"], 0)
    return layer


def probability_up(weights: Weights, hidden: Array) -> Array:
    """Return the probability of "up", for one row of activations or for many."""
    logit = hidden @ weights["w2"] + weights["b2"][0]
    probability: Array = (1 + np.tanh(logit / 2)) / 2  # the logistic function
    return probability


def discounted_returns(rewards: Array, gamma: float) -> Array:
    """Return the discounted sum of rewards from each frame to the end of its point."""
    returns = np.empty(len(rewards), np.float64)
    ahead = 0.0
    for t in range(len(rewards) - 1, -1, -1):
        ahead = rewards[t] if rewards[t] else gamma * ahead
        returns[t] = ahead
    return returns


def advantages(rewards: Array, gamma: float) -> Array:
    """Return the discounted returns with mean 0 and deviation 1."""
    returns = discounted_returns(rewards, gamma)
    return (returns - returns.mean()) / (returns.std() + 1e-8)


@dataclasses.dataclass
class Batch:
    """What happened in a rollout, frame by frame."""

    where: list[Array]  # the pixels that changed
    sign: list[Array]  # and how
    hidden: Array  # activations, a row a frame
    probability: Array  # of "up"
    went_up: Array  # what was done, as 0 or 1


def gradient(weights: Weights, batch: Batch, advantage: Array) -> Weights:
    """Return the gradient of sum(advantage * log(probability of what was done)).

    All frames at once.  Rows of ``w1`` whose pixel never changed have gradient 0, and
    take no part in the product.
    """
    kind = weights["w1"].dtype
    d_logit = (advantage * (batch.went_up - batch.probability)).astype(kind)
    d_hidden = np.outer(d_logit, weights["w2"]) * (batch.hidden > 0)
    pixels, column = np.unique(np.concatenate(batch.where), return_inverse=True)
    row = np.repeat(np.arange(len(batch.where)), [len(w) for w in batch.where])
    seen = np.zeros((len(batch.where), len(pixels)), kind)
    seen[row, column] = np.concatenate(batch.sign)
    d_w1 = np.zeros_like(weights["w1"])
    d_w1[pixels] = seen.T @ d_hidden
    return {
        "w1": d_w1,
        "b1": d_hidden.sum(axis=0),
        "w2": batch.hidden.T @ d_logit,
        "b2": d_logit.sum(keepdims=True),
    }


# Playing ------------------------------------------------------------------------------


@dataclasses.dataclass
class Rollout:
    """What an actor hands back."""

    gradients: Weights  # summed over the frames
    frames: int
    points: float  # won minus lost
    points_played: int
    games: list[float]  # scores of the games that ended
    entropy: float  # of the policy, summed over the frames, in nats
    busy_s: float  # CPU time of playing and of the gradient
    snapshot: bytes  # the game as it stands now


def new_environment(seed: int) -> Any:
    """Return a seeded game of Pong, with the emulator's banner silenced."""
    import ale_py
    import gymnasium

    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    gymnasium.register_envs(ale_py)
    environment = gymnasium.make("ALE/Pong-v5", obs_type="grayscale", disable_env_checker=True)
    environment.reset(seed=seed)
    return environment


class Player:
    """A game of Pong, and someone who plays it with weights that it is given.

    Parameters
    ----------
    settings : Settings
        Of the training.
    index : int
        This player's number; with the seed it decides everything random.
    snapshot : bytes, optional
        A game to go on with, from an earlier `Rollout`.
    """

    def __init__(self, settings: Settings, index: int, snapshot: bytes = b"") -> None:
        self.settings = settings
        sequence = np.random.SeedSequence([settings.seed, 1 + index])
        self.environment = new_environment(int(sequence.generate_state(1)[0]))
        self.rng = np.random.default_rng(sequence)
        self.new_game()
        if snapshot:
            self.restore(snapshot)

    def ready(self) -> bool:
        """Return True, once the game stands."""
        return True

    def new_game(self) -> None:
        """Begin a game; the emulator's own randomness runs on."""
        screen, _ = self.environment.reset()
        self.before = self.now = court(screen)
        self.score = 0.0

    def snapshot(self) -> bytes:
        """Return the game as bytes, and make this player as if restored from them."""
        emulator = self.environment.unwrapped.clone_state(include_rng=True)
        game = (emulator, self.before, self.now, self.score, self.rng.bit_generator.state)
        snapshot = pickle.dumps(game)
        self.restore(snapshot)
        return snapshot

    def restore(self, snapshot: bytes) -> None:
        """Go on from a snapshot."""
        emulator, self.before, self.now, self.score, rng = pickle.loads(snapshot)
        # The emulator repeats the action before with probability 1/4, and remembers that
        # action outside of its state: let it be the same after every restore.
        for _ in range(4):
            self.environment.step(NOOP)
        self.environment.unwrapped.restore_state(emulator)
        self.rng.bit_generator.state = rng

    def rollout(self, weights: Weights) -> Rollout:
        """Play `steps` frames and to the end of the point; return the gradient."""
        begin = time.thread_time()
        batch, rewards, games = self.play(weights)
        p = batch.probability
        gradients = gradient(weights, batch, advantages(rewards, self.settings.gamma))
        return Rollout(
            gradients=gradients,
            frames=len(rewards),
            points=float(rewards.sum()),
            points_played=int(np.count_nonzero(rewards)),
            games=games,
            entropy=float(-np.sum(p * np.log(p + 1e-9) + (1 - p) * np.log(1 - p + 1e-9))),
            snapshot=self.snapshot(),
            busy_s=time.thread_time() - begin,
        )

    def play(self, weights: Weights) -> tuple[Batch, Array, list[float]]:
        """Play a rollout; return what happened, the rewards, and finished games."""
        where: list[Array] = []
        sign: list[Array] = []
        hidden: list[Array] = []
        chance: list[float] = []
        went_up: list[bool] = []
        rewards: list[float] = []
        games: list[float] = []
        steps = self.settings.steps
        while len(rewards) < steps or (
            rewards[-1] == 0 and len(rewards) < steps + POINT_FRAMES_MAX
        ):
            pixels, signs = difference(self.now, self.before)
            layer = hidden_layer(weights, pixels, signs)
            probability = float(probability_up(weights, layer))
            up = bool(self.rng.random() < probability)
            screen, reward, ended, cut, _ = self.environment.step(UP if up else DOWN)
            where.append(pixels)
            sign.append(signs)
            hidden.append(layer)
            chance.append(probability)
            went_up.append(up)
            rewards.append(float(reward))
            self.before, self.now = self.now, court(screen)
            self.score += float(reward)
            if ended or cut:
                games.append(self.score)
                self.new_game()
        batch = Batch(where, sign, np.stack(hidden), np.array(chance), np.array(went_up))
        return batch, np.array(rewards), games


@rayc.remote
class RolloutWorker(Player):
    """A player in a process of its own."""


class Team(Protocol):
    """Those who play an iteration."""

    size: int
    cores: int

    def play(self, weights: Weights) -> Iterator[tuple[int, Rollout]]:
        """Yield each player's number and rollout, in the order in which they finish."""
        ...


class Actors:
    """A team of actors: what this example is about."""

    def __init__(self, settings: Settings, games: Sequence[bytes], cpus: int) -> None:
        self.size = len(games)
        self.cores = min(self.size, cpus)
        # An actor with no resources given holds no CPU, so ten fit on two.
        self.workers = [
            RolloutWorker.remote(settings, index, game) for index, game in enumerate(games)
        ]
        rayc.get([worker.ready.remote() for worker in self.workers])

    def play(self, weights: Weights) -> Iterator[tuple[int, Rollout]]:
        """Yield each actor's number and rollout, in the order in which they finish."""
        weights_ref = rayc.put(weights)
        pending = {
            worker.rollout.remote(weights_ref): index for index, worker in enumerate(self.workers)
        }
        while pending:
            (ready,), _ = rayc.wait(list(pending), num_returns=1)
            yield pending.pop(ready), rayc.get(ready)


class OneProcess:
    """The same players one after another in this process, without the runtime."""

    def __init__(self, settings: Settings, games: Sequence[bytes]) -> None:
        self.size = len(games)
        self.cores = 1
        self.players = [Player(settings, index, game) for index, game in enumerate(games)]

    def play(self, weights: Weights) -> Iterator[tuple[int, Rollout]]:
        """Yield each player's number and rollout."""
        for index, player in enumerate(self.players):
            yield index, player.rollout(weights)


# Learning -----------------------------------------------------------------------------


def train_once(state: State, team: Team, settings: Settings) -> tuple[State, Times]:
    """Return the state after one more iteration, and where its time went."""
    begin = time.perf_counter()
    total = OrderedSum(state.weights)
    rollouts: dict[int, Rollout] = {}
    arrivals: list[float] = []
    own_s: list[float] = []  # the driver's CPU time after each arrival
    for index, rollout in team.play(state.weights):
        arrivals.append(time.perf_counter())
        own_begin = time.thread_time()
        total.add(index, rollout.gradients)
        rollout.gradients = {}  # lets go of the object store's memory
        rollouts[index] = rollout
        own_s.append(time.thread_time() - own_begin)
    own_begin = time.thread_time()
    results = [rollouts[index] for index in range(team.size)]
    frames = sum(r.frames for r in results)
    mean_gradient = {name: array / frames for name, array in total.total.items()}
    weights, mean, square = adam(state, mean_gradient, settings.learning_rate)
    own_s[-1] += time.thread_time() - own_begin

    wall = time.perf_counter() - begin
    times = Times(
        wall=wall,
        offered=team.cores * wall,
        work=sum(r.busy_s for r in results) + sum(own_s),
        waiting=waiting_s(arrivals, own_s, team.cores),
        frames=frames,
    )
    row = (
        state.iteration + 1,
        frames + (state.curve[-1][1] if state.curve else 0),
        sum(r.points for r in results) / max(1, sum(r.points_played for r in results)),
        sum(r.entropy for r in results) / frames,
        times.frames_per_s(),
        times.shares()[2],
    )
    scores = (*state.scores, *(score for r in results for score in r.games))
    after = State(
        weights=weights,
        mean=mean,
        square=square,
        games=tuple(r.snapshot for r in results),
        iteration=state.iteration + 1,
        scores=scores[-GAMES_KEPT:],
        curve=(*state.curve, row),
    )
    return after, times


def waiting_s(arrivals: Sequence[float], own_s: Sequence[float], cores: int) -> float:
    """Return the core-seconds at an iteration's end for which too few had work.

    The last `cores` arrivals each left a core without an actor; the driver used one of
    these for its own work, until it worked alone.
    """
    without_actor = sum(arrivals[-1] - arrival for arrival in arrivals[-cores:])
    return max(0.0, without_actor - sum(own_s[-cores:-1])) + (cores - 1) * own_s[-1]


class Training:
    """A state that goes on, and what is to be done with it on the way.

    Parameters
    ----------
    state : State
        Where to go on.
    settings : Settings
        Of the learner.
    checkpoint : Path, optional
        Where to save, every `save_every` iterations and at the end.
    """

    def __init__(
        self,
        state: State,
        settings: Settings,
        checkpoint: Path | None = None,
        save_every: int = 20,
    ) -> None:
        self.state = state
        self.settings = settings
        self.checkpoint = checkpoint
        self.save_every = save_every
        self.saved = state.iteration
        self.times = Times()

    def run(self, team: Team, iterations: int, seconds: float | None = None) -> None:
        """Train up to that many iterations in all, or for that long."""
        progress = Progress()
        begin = time.perf_counter()
        first = self.state.iteration
        try:
            while self.state.iteration < iterations:
                self.state, times = train_once(self.state, team, self.settings)
                self.times += times
                fraction = (self.state.iteration - first) / (iterations - first)
                if seconds is not None:
                    fraction = max(fraction, (time.perf_counter() - begin) / seconds)
                progress.show(fraction, self.state)
                if fraction >= 1:
                    break
                if self.state.iteration % self.save_every == 0:
                    self.save()
        finally:  # an interrupt or a lost actor costs the iteration, not the training
            progress.end()
            self.save()

    def save(self) -> None:
        """Write the checkpoint, if there is anything new."""
        if self.checkpoint is not None and self.saved < self.state.iteration:
            save_checkpoint(self.checkpoint, self.state)
            self.saved = self.state.iteration


# The program --------------------------------------------------------------------------


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the command line's options."""
    own = Settings()
    parser = argparse.ArgumentParser(description="Learn to play Pong with ten actors.")
    option = parser.add_argument
    option(
        "--demo",
        action="store_true",
        help="the short version: actors for --seconds (84), then one process",
    )
    option(
        "--one-process", action="store_true", help="the same loop without the runtime, to compare"
    )
    option("--actors", type=positive(int), default=10, metavar="N", help="default: 10")
    option(
        "--iterations",
        type=positive(int),
        default=None,
        metavar="N",
        help="how many in all, those of a checkpoint included; default: 2000",
    )
    option("--seconds", type=positive(float), metavar="S", help="stop after that long")
    option(
        "--steps",
        type=positive(int),
        default=own.steps,
        metavar="N",
        help=f"frames in a rollout, which then ends with its point; default: {own.steps}",
    )
    option("--seed", type=int, default=own.seed, metavar="N", help=f"default: {own.seed}")
    option(
        "--hidden",
        type=positive(int),
        default=own.hidden,
        metavar="N",
        help=f"width of the hidden layer; default: {own.hidden}",
    )
    option(
        "--gamma",
        type=positive(float),
        default=own.gamma,
        metavar="X",
        help=f"discount of a frame; default: {own.gamma}",
    )
    option(
        "--learning-rate",
        type=positive(float),
        default=own.learning_rate,
        metavar="X",
        help=f"Adam's; default: {own.learning_rate}",
    )
    option(
        "--cpus",
        type=positive(int),
        metavar="N",
        help="CPUs for the runtime; default: those that this process may use",
    )
    option(
        "--checkpoint",
        metavar="FILE",
        help="goes on from FILE and saves there; default: pong.npz, for --demo none",
    )
    option("--fresh", action="store_true", help="begin anew, and replace the checkpoint")
    option(
        "--save-every",
        type=positive(int),
        default=20,
        metavar="N",
        help="iterations between two checkpoints; default: 20",
    )
    option("--plot", type=Path, metavar="FILE", help="write the learning curve as a PNG")
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


def require(options: argparse.Namespace) -> None:
    """Say what is missing before anything is started."""
    needed = ["gymnasium", "ale_py"] + ["matplotlib"] * (options.plot is not None)
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        names = " ".join(missing).replace("_", "-")
        sys.exit(f"pong.py needs {names}, not installed here: pip install {names}")


def first_state(options: argparse.Namespace, settings: Settings, checkpoint: Path | None) -> State:
    """Return the checkpoint's training, or a new one."""
    state = State.new(new_weights(settings), options.actors)
    if checkpoint is None or options.fresh or not checkpoint.exists():
        return state
    try:
        old = load_checkpoint(checkpoint)
    except CheckpointError as error:
        sys.exit(f"{error}\n--fresh begins anew and replaces it")
    if old.weights["w1"].shape != state.weights["w1"].shape:
        hidden = old.weights["w1"].shape[1]
        sys.exit(f"{checkpoint} has a hidden layer of {hidden}: --hidden {hidden}, or --fresh")
    print(f"going on from {checkpoint}, iteration {old.iteration}", file=sys.stderr)
    return old.with_actors(options.actors)


def with_actors(training: Training, options: argparse.Namespace) -> None:
    """Train with a team of actors."""
    cpus = options.cpus or len(os.sched_getaffinity(0))
    begin = time.perf_counter()
    rayc.init(num_cpus=options.cpus)
    try:
        team = Actors(training.settings, training.state.games, cpus)
        started = time.perf_counter() - begin
        print(f"{team.size} actors on {cpus} CPUs, ready in {started:.1f} s", file=sys.stderr)
        training.run(team, options.iterations, options.seconds)
    finally:
        rayc.shutdown()


def summary(title: str, training: Training) -> str:
    """Return what a training did, in three lines."""
    times, state = training.times, training.state
    work, waiting, runtime = times.shares()
    reward = state.column("reward")
    games = f"{np.mean(state.scores):+.1f}" if state.scores else "none ended"
    return (
        f"{title}: {times.frames:,} frames in {times.wall:.1f} s,"
        f" {times.frames_per_s():,.0f} frames/s\n"
        f"  reward: {reward[:10].mean():+.3f} at the beginning,"
        f" {reward[-10:].mean():+.3f} now ({state.iteration} iterations); games: {games}\n"
        f"  time: {work:.1%} playing and learning, {waiting:.1%} waiting for the slowest,"
        f" {runtime:.1%} runtime and everything else"
    )


def demo(training: Training, options: argparse.Namespace) -> None:
    """Train with actors, then for a while in one process, and print both."""
    start = training.state
    with_actors(training, options)
    print(summary(f"{options.actors} actors", training))
    alone = Training(start, training.settings)
    team = OneProcess(training.settings, start.games)
    alone.run(team, options.iterations, 0.3 * options.seconds)
    print(summary("the same loop in one process", alone))
    ratio = training.times.frames_per_s() / alone.times.frames_per_s()
    print(f"the actors were {ratio:.2f} times as fast", end="; ")
    first = start.iteration
    both = [t.state.curve[first:] for t in (training, alone)]
    pairs = list(zip(*both, strict=False))
    same = all(a[REWARD : ENTROPY + 1] == b[REWARD : ENTROPY + 1] for a, b in pairs)
    print(f"rewards of the first {len(pairs)} iterations: {'equal' if same else 'DIFFERENT'}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    options = parse_arguments(arguments)
    require(options)
    if options.demo:
        options.seconds = options.seconds or 84.0
        options.iterations = options.iterations or sys.maxsize
    options.iterations = options.iterations or 2000
    default = "" if options.demo else "pong.npz"
    name = default if options.checkpoint is None else options.checkpoint
    checkpoint = Path(name) if name else None
    settings = Settings(**{f.name: getattr(options, f.name) for f in dataclasses.fields(Settings)})
    training = Training(
        first_state(options, settings, checkpoint), settings, checkpoint, options.save_every
    )
    code = 0
    try:
        if training.state.iteration >= options.iterations:
            print(f"iteration {options.iterations} is reached: see --iterations")
        elif options.demo:
            demo(training, options)
        elif options.one_process:
            training.run(OneProcess(settings, training.state.games),
                         options.iterations, options.seconds)  # fmt: skip
            print(summary("one process", training))
        else:
            with_actors(training, options)
            print(summary(f"{options.actors} actors", training))
    except KeyboardInterrupt:
        saved = f", saved in {checkpoint}" if checkpoint and training.saved else ""
        print(f"interrupted after iteration {training.state.iteration}{saved}", file=sys.stderr)
        code = 130
    if options.plot is not None and training.state.curve:
        plot(options.plot, training.state)
    return code


if __name__ == "__main__":
    sys.exit(main())
