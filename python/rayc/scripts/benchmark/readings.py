"""What was read: figures with their spread, as text and as JSON."""

from __future__ import annotations

import dataclasses
import statistics
from typing import Any

UNSTEADY = 3  # between a ping-pong's fastest and slowest pair
ROW, PAIRED, CLUSTER, PLASMA = "row", "paired", "cluster", "plasma"  # the kinds


@dataclasses.dataclass(frozen=True)
class Reading:
    """A figure, or why there is none.

    Attributes
    ----------
    kind : str
        ROW: calls per second, mean of the rounds. PAIRED: ratio to the ping-pong, median of
        the pairs. CLUSTER: what a cluster takes, median of the runs.
        PLASMA: what the object store does, median of the runs.
    values : list of float
        Of all rounds, pairs or runs; empty if not available.
    per_s, ping_pong_per_s : float
        Of a paired reading: the medians of the two rates.
    ping_pongs_per_s : list of float
        Of a paired reading: the ping-pong's rate in each pair.
    """

    kind: str
    name: str
    unit: str = ""
    values: list[float] = dataclasses.field(default_factory=list)
    why_not: str = ""
    per_s: float = 0.0
    ping_pong_per_s: float = 0.0
    ping_pongs_per_s: list[float] = dataclasses.field(default_factory=list)

    @property
    def unsteady(self) -> bool:
        """Whether the ping-pong's two processes were now on one core, now on two.

        That alone can make a factor of twenty; a ratio across it says nothing.
        """
        floors = self.ping_pongs_per_s
        return bool(floors) and max(floors) > UNSTEADY * min(floors)

    @property
    def value(self) -> float | None:
        if not self.values:
            return None
        middle = statistics.fmean if self.kind == ROW else statistics.median
        return float(middle(self.values))

    @property
    def deviation(self) -> float:
        return statistics.pstdev(self.values)

    def line(self) -> str:
        """Return the reading as a line."""
        value = self.value
        if value is None:
            return f"{self.name} not available: {self.why_not}"
        if self.kind == ROW:
            return f"{self.name} per second {value:.2f} +- {self.deviation:.2f}"
        spread = f"({figure(min(self.values))} to {figure(max(self.values))})"
        if self.kind == PAIRED:
            return (
                f"{self.name} {figure(value)} of a ping-pong {spread}"
                f"  [{self.per_s:,.0f}/s over {self.ping_pong_per_s:,.0f}/s]"
                + ("  UNSTEADY ping-pong" if self.unsteady else "")
            )
        return f"{self.name} {figure(value)} {self.unit} {spread}".replace("  ", " ")

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Reading:
        return cls(**fields)


def figure(value: float) -> str:
    """Return a number with about three digits that count; a whole one as it is."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.{1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3}f}"
