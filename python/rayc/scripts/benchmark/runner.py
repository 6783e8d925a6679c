"""Runs rows on an engine, one after another; a row that fails does not stop the others."""

from __future__ import annotations

import gc
import os
import re
import statistics
from collections.abc import Callable, Iterator
from typing import Any

from rayc.scripts.benchmark.ping_pong import PingPong
from rayc.scripts.benchmark.readings import PAIRED, ROW, Reading
from rayc.scripts.benchmark.rows import PAIRED as PAIRED_ROWS
from rayc.scripts.benchmark.rows import ROWS, PairedRow, Row, Work, named
from rayc.scripts.benchmark.timing import Timing, batch_size, deadline, rounds, steps_per_s

Selected = Callable[[str], bool]


def selection(pattern: str | None) -> Selected:
    """Return the test of a row's name.

    Parameters
    ----------
    pattern : str, optional
        A regular expression that is found in the name. The environment's TESTS_TO_RUN and
        TESTS_TO_SKIP (names or parts of names, with commas between) count as well.
    """
    expression = re.compile(pattern or "")
    wanted, unwanted = (
        [part.strip() for part in os.environ.get(variable, "").split(",") if part.strip()]
        for variable in ("TESTS_TO_RUN", "TESTS_TO_SKIP")
    )

    def selected(name: str) -> bool:
        return (
            expression.search(name) is not None
            and (not wanted or any(part in name for part in wanted))
            and not any(part in name for part in unwanted)
        )

    return selected


class Runner:
    """An engine with a session that is begun when a row needs it.

    Parameters
    ----------
    engine : module
        rayc, or another with the same programming model.
    timing : Timing
        How long to measure.
    """

    def __init__(self, engine: Any, timing: Timing) -> None:
        self.engine = engine
        self.timing = timing
        self._resources: dict[str, float] | None = None  # of the session; None: there is none

    def rows(self, selected: Selected) -> Iterator[Reading]:
        """Yield the rows' readings."""
        for row in ROWS:
            if selected(row.name):
                yield self._guarded(ROW, row.name, row, self._read)

    def paired(self, selected: Selected) -> Iterator[Reading]:
        """Yield the readings against the ping-pong."""
        for row in PAIRED_ROWS:
            if selected(row.name):
                yield self._guarded(PAIRED, row.name, named(row.row), self._pairs(row))

    def close(self) -> None:
        """End the session."""
        if self._resources is not None:
            self._resources = None
            self.engine.shutdown()

    def _begin(self, resources: dict[str, float]) -> None:
        if self._resources == resources:
            return
        self.close()
        self.engine.init(**({"resources": resources} if resources else {}))
        self._resources = resources

    def _guarded(
        self, kind: str, name: str, row: Row, read: Callable[[str, Work], Reading]
    ) -> Reading:
        try:
            with deadline(self.timing.row_s_max):
                self._begin(dict(row.resources))
                reading = read(name, row.prepare(self.engine))
        except Exception as error:
            reading = Reading(kind, name, why_not=_reason(error))
            self._resources = self._resources or {}  # begun, or half begun
            self.close()  # whatever state the row left behind goes too
        gc.collect()  # so do its actors, before the next row
        return reading

    def _read(self, name: str, work: Work) -> Reading:
        values = [work.count * rate for rate in rounds(work.step, self.timing)]
        return Reading(ROW, name, "/s", values)

    def _pairs(self, row: PairedRow) -> Callable[[str, Work], Reading]:
        timing = self.timing

        def read(name: str, work: Work) -> Reading:
            count = work.count if row.count is None else row.count
            with PingPong() as ping_pong:
                batch = batch_size(steps_per_s(work.step, timing.warm_up_s), timing.pair_s)
                floor = steps_per_s(ping_pong.step, timing.pair_s)
                floor_batch = batch_size(floor, timing.pair_s)
                floors, rates = [], []
                for _ in range(timing.pairs):
                    floors.append(steps_per_s(ping_pong.step, timing.pair_s, floor_batch))
                    rates.append(count * steps_per_s(work.step, timing.pair_s, batch))
            return Reading(
                PAIRED,
                name,
                values=[rate / floor for rate, floor in zip(rates, floors, strict=True)],
                per_s=statistics.median(rates),
                ping_pong_per_s=statistics.median(floors),
                ping_pongs_per_s=floors,
            )

        return read


def _reason(error: Exception) -> str:
    cause = getattr(error, "cause", None)  # of a task's error: what was raised there
    if isinstance(cause, Exception):
        error = cause
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
