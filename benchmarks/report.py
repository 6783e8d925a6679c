"""Writes the tables of README.md and docs/benchmarks.md from what `--engine both --json` wrote.

A table stands between `<!-- bench: NAME -->` and `<!-- bench: end -->`; the text around it is
written by hand.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "python"))

from rayc.scripts.benchmark.readings import (  # noqa: E402
    CLUSTER,
    PAIRED,
    PLASMA,
    ROW,
    Reading,
    figure,
)

PAGES = [ROOT / "README.md", ROOT / "docs" / "benchmarks.md"]
BLOCK = re.compile(r"(<!-- bench: (\w+) -->\n).*?(<!-- bench: end -->)", re.DOTALL)
Pair = tuple[Reading, Reading]  # rayc's reading and Ray's


def pairs(engines: dict[str, Any], kind: str) -> list[Pair]:
    rayc, ray = (
        [Reading.from_json(fields) for fields in engines[name]["readings"]]
        for name in ("rayc", "ray")
    )
    others = {(reading.kind, reading.name): reading for reading in ray}
    return [(own, others[kind, own.name]) for own in rayc if own.kind == kind]


def value(reading: Reading) -> str:
    return "-" if reading.value is None else f"{figure(reading.value)} {reading.unit}".strip()


def spread(reading: Reading) -> str:
    if reading.value is None:
        return "-"
    if reading.kind == ROW:
        return f"{figure(reading.value)} ± {figure(reading.deviation)}"
    return f"{value(reading)} ({figure(min(reading.values))} to {figure(max(reading.values))})"


def ratio(pair: Pair) -> str:
    own, other = pair[0].value, pair[1].value
    return figure(own / other) if own is not None and other else "-"


def table(head: list[str], lines: list[list[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"| --- |{' ---: |' * (len(head) - 1)}"
    for cells in lines:
        yield f"| {' | '.join(cells)} |"


def reasons(read: list[Pair]) -> Iterator[str]:
    lines = [
        f"- {engine}, {reading.name}: {reading.why_not}"
        for pair in read
        for engine, reading in zip(("rayc", "Ray"), pair, strict=True)
        if reading.value is None
    ]
    if lines:
        yield from ("", "Not available:", "", *lines)


def full_table(read: list[Pair]) -> Iterator[str]:
    yield from table(
        ["row", "rayc", "Ray", "rayc / Ray"],
        [[pair[0].name, spread(pair[0]), spread(pair[1]), ratio(pair)] for pair in read],
    )
    yield from reasons(read)


def machine(engines: dict[str, Any]) -> Iterator[str]:
    own, other = engines["rayc"], engines["ray"]
    yield f"{own['cpus']} cores ({own['cpu']}), {own['memory']} of memory, {own['system']}."
    pythons = [entry["python"] for entry in (own, other)]
    if len(set(pythons)) == 1:
        yield f"rayc {own['version']} and Ray {other['version']}, both with Python {pythons[0]}."
    else:
        yield f"rayc {own['version']} with Python {pythons[0]},"
        yield f"Ray {other['version']} with Python {pythons[1]}."
    if own["quick"]:
        yield "Measured with `--quick`: shorter rounds, fewer runs, and 40 actors instead of 200."
    if engines["note"]:
        yield engines["note"]


def paired(engines: dict[str, Any]) -> Iterator[str]:
    read = pairs(engines, PAIRED)
    yield from full_table(read)
    yield ""
    for engine, number in (("rayc", 0), ("Ray", 1)):
        floors = [floor for pair in read for floor in pair[number].ping_pongs_per_s]
        if floors:
            low, high = figure(min(floors)), figure(max(floors))
            yield f"- The ping-pong alone, during {engine}'s rows: {low}/s to {high}/s."
            unsteady = [pair[number].name for pair in read if pair[number].unsteady]
            if unsteady:
                yield "  It changed by more than a factor of three between the pairs, and the ratio"
                yield f"  says less, in: {', '.join(unsteady)}."


def summary(engines: dict[str, Any]) -> Iterator[str]:
    own = engines["rayc"]
    yield f"Medians on {own['cpus']} cores, rayc and Ray {engines['ray']['version']} on one"
    yield "machine, by `make bench-ray`; [docs/benchmarks.md](docs/benchmarks.md) has all of them:"
    yield ""
    cluster, calls, store = (pairs(engines, kind) for kind in (CLUSTER, PAIRED, PLASMA))
    yield from table(
        ["what a cluster takes", "rayc", "Ray"],
        [[pair[0].name, value(pair[0]), value(pair[1])] for pair in cluster],
    )
    yield ""
    yield from table(
        ["rate, as a ratio to a socket ping-pong", "rayc", "Ray", "rayc / Ray"],
        [[pair[0].name, value(pair[0]), value(pair[1]), ratio(pair)] for pair in calls],
    )
    yield ""
    yield from table(
        ["object store", "rayc", "Ray"],
        [[pair[0].name, value(pair[0]), value(pair[1])] for pair in store],
    )


BLOCKS = {
    "summary": summary,
    "machine": machine,
    "cluster": lambda engines: full_table(pairs(engines, CLUSTER)),
    "paired": paired,
    "rows": lambda engines: full_table(pairs(engines, ROW)),
    "plasma": lambda engines: full_table(pairs(engines, PLASMA)),
}


def merge(engines: dict[str, Any], others: dict[str, Any]) -> None:
    for name, entry in others.items():
        known = engines.setdefault(name, {**entry, "readings": []})
        known["readings"] += entry["readings"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("json", type=Path, nargs="+", help="of both engines; one or several")
    parser.add_argument("--note", default="", help="what else is to be known of the machine")
    options = parser.parse_args()
    engines: dict[str, Any] = {"note": options.note}
    for path in options.json:
        merge(engines, json.loads(path.read_text()))
    missing = {"rayc", "ray"} - engines.keys()
    if missing:
        sys.exit(f"no readings of {' and '.join(sorted(missing))}: use --engine both")

    def filled(block: re.Match[str]) -> str:
        begin, name, end = block.groups()
        return begin + "\n".join(BLOCKS[name](engines)) + "\n" + end

    for page in PAGES:
        page.write_text(BLOCK.sub(filled, page.read_text()))
        print(f"written: {page.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
