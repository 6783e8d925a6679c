"""How often a step runs in a second."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

Step = Callable[[], object]

LOOKS_PER_ROUND = 20  # at the clock, where steps are short


@dataclasses.dataclass(frozen=True)
class Timing:
    """How long to measure."""

    warm_up_s: float = 1.0
    rounds: int = 4
    round_s: float = 2.0
    pairs: int = 9  # of ping-pong and reading
    pair_s: float = 0.5  # each of the two
    row_s_max: float = 300.0  # a row that takes longer is given up

    @classmethod
    def quick(cls) -> Timing:
        return cls(warm_up_s=0.3, rounds=3, round_s=0.5, pairs=7, pair_s=0.2, row_s_max=180.0)


class TooSlow(Exception):
    """A row's time is up."""


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise `TooSlow` in the block after that long; in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    expired = False

    def give_up(_signal: int, _frame: FrameType | None) -> None:
        nonlocal expired
        expired = True
        raise TooSlow(f"took longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except Exception as error:
        if expired and not isinstance(error, TooSlow):  # an engine may make its own of it
            raise TooSlow(f"took longer than {seconds:g} s") from error
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def steps_per_s(step: Step, seconds: float, batch: int = 1) -> float:
    """Return the rate of a step that runs for about that long, and at least once."""
    done = 0
    start = time.perf_counter()
    while True:
        for _ in range(batch):
            step()
        done += batch
        elapsed = time.perf_counter() - start
        if elapsed >= seconds:
            return done / elapsed


def batch_size(rate: float, seconds: float) -> int:
    """Return how many steps of that rate to run between two looks at the clock."""
    return max(1, int(rate * seconds / LOOKS_PER_ROUND))


def rounds(step: Step, timing: Timing) -> list[float]:
    """Return the rates of all rounds, after a warm-up."""
    batch = batch_size(steps_per_s(step, timing.warm_up_s), timing.round_s)
    return [steps_per_s(step, timing.round_s, batch) for _ in range(timing.rounds)]
