"""`rayc microbenchmark`: how many calls, objects and gigabytes this machine does in a second."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rayc.scripts.benchmark.readings import Reading
from rayc.scripts.benchmark.runner import Runner, Selected, selection
from rayc.scripts.benchmark.timing import Timing

DESCRIPTION = """\
Measures calls, objects and gigabytes per second, row by row, in a private cluster on this machine,
then some rows as a ratio to a ping-pong of 128 bytes between two Python processes.
TESTS_TO_RUN and TESTS_TO_SKIP in the environment choose rows too: names or parts of names, with
commas between."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = DESCRIPTION
    parser.add_argument(
        "--rows", type=_pattern, metavar="REGEX", help="only the rows in whose name it is found"
    )
    parser.add_argument("--quick", action="store_true", help="shorter, and less exact")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the readings there too")


def run(options: argparse.Namespace) -> int:
    import rayc

    selected = selection(options.rows)
    readings = show(measure(rayc, selected, timing(options)))
    if options.json is not None:
        options.json.write_text(as_json({"rayc": {"readings": readings}}))
    return 0 if readings else nothing_selected()


def timing(options: argparse.Namespace) -> Timing:
    return Timing.quick() if options.quick else Timing()


def measure(engine: Any, selected: Selected, timing: Timing) -> Iterator[Reading]:
    """Yield all readings of the rows that are selected.

    Parameters
    ----------
    engine : module
        rayc, or another with the same programming model, that is imported already.
    selected : callable
        Says of a row's name whether to measure it.
    timing : Timing
        How long.
    """
    runner = Runner(engine, timing)
    try:
        yield from runner.rows(selected)
        yield from runner.paired(selected)
    finally:
        runner.close()


def show(readings: Iterator[Reading]) -> list[Reading]:
    """Print readings as they come, and return them."""
    shown = []
    for reading in readings:
        print(reading.line(), flush=True)
        shown.append(reading)
    return shown


def as_json(engines: dict[str, dict[str, Any]]) -> str:
    """Return engines' readings, and whatever else is said of them, as JSON."""
    plain = {
        name: {**entry, "readings": [reading.to_json() for reading in entry["readings"]]}
        for name, entry in engines.items()
    }
    return json.dumps(plain, indent=1) + "\n"


def nothing_selected() -> int:
    print("no row has such a name")
    return 1


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"not a regular expression: {error}") from None
    return text
