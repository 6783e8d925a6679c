"""The microbenchmark on rayc, on Ray, or on both with the ratio.

    python benchmarks/microbenchmark.py --quick
    python benchmarks/microbenchmark.py --engine both --ray-python build/ray-venv/bin/python

Prints the rows that `ray microbenchmark` has, under the same names; then rows as a ratio to a
ping-pong of 128 bytes between two Python processes; then what a cluster takes (startup.py and
footprint.py). The code is the same for both engines, most of it that of `rayc microbenchmark`.
Ray is imported only if it is asked for. docs/benchmarks.md says more about the method.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import footprint
import startup
from machine import description

if importlib.util.find_spec("rayc") is None:  # Ray's environment need not hold rayc
    sys.path.append(str(Path(__file__).parents[1] / "python"))

from rayc.scripts import microbenchmark
from rayc.scripts.benchmark.readings import CLUSTER, Reading, figure
from rayc.scripts.benchmark.runner import Selected, selection

ENGINES = ("rayc", "ray")
COLD_SCRIPT = "cold script over an empty interpreter"


def cluster_figures(engine: str, selected: Selected, quick: bool) -> Iterator[Reading]:
    """Yield what a cluster takes: time to start, processes, memory, threads."""
    if selected(COLD_SCRIPT):
        try:
            seconds = startup.measure(engine, runs=5 if quick else 15)
            floor = statistics.median(seconds[startup.EMPTY])
            values = [value - floor for value in seconds[startup.WHOLE]]
            yield Reading(CLUSTER, COLD_SCRIPT, "s", values)
        except subprocess.CalledProcessError as error:
            yield Reading(CLUSTER, COLD_SCRIPT, why_not=f"exit code {error.returncode}")
    names = [name for name in footprint.UNITS if selected(name)]
    if not names:
        return
    try:
        runs = list(footprint.runs(engine, 40 if quick else 200, count=1 if quick else 3))
    except subprocess.CalledProcessError as error:
        for name in names:
            yield Reading(CLUSTER, name, why_not=f"exit code {error.returncode}")
        return
    for name in names:
        yield Reading(CLUSTER, name, footprint.UNITS[name], [run[name] for run in runs])


def measure(engine_name: str, options: argparse.Namespace) -> list[Reading]:
    """Measure an engine in this process and in drivers of their own; print line by line."""
    try:
        engine: Any = importlib.import_module(engine_name)
    except ImportError as error:
        sys.exit(f"{engine_name} cannot be imported by {sys.executable}: {error}")
    selected = selection(options.rows)
    timing = microbenchmark.timing(options)
    return [
        *microbenchmark.show(microbenchmark.measure(engine, selected, timing)),
        *microbenchmark.show(cluster_figures(engine_name, selected, options.quick)),
    ]


def in_its_python(engine: str, options: argparse.Namespace, folder: str) -> dict[str, Any]:
    """Measure an engine in a process of its own; return what is known of it."""
    file = Path(folder) / f"{engine}.json"
    python = options.ray_python if engine == "ray" else sys.executable
    command = [python, __file__, "--engine", engine, "--json", str(file)]
    command += ["--quick"] * options.quick
    command += ["--rows", options.rows] if options.rows else []
    subprocess.run(command, check=True)
    entry: dict[str, Any] = json.loads(file.read_text())[engine]
    entry["readings"] = [Reading.from_json(fields) for fields in entry["readings"]]
    return entry


def ray_variables(folder: Path) -> dict[str, str]:
    """Return the environment in which Ray leaves nothing outside of a folder, and tells no one.

    By default it leaves its session folder, and a token in the user's home.
    """
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    return {
        "RAY_TMPDIR": str(folder),
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def write(file: Path | None, engines: dict[str, dict[str, Any]]) -> None:
    if file is not None:
        file.write_text(microbenchmark.as_json(engines))


def comparison(rayc: list[Reading], ray: list[Reading]) -> Iterator[str]:
    """Yield a table: both engines, and rayc's figure over Ray's."""
    yield f"{'':46}{'rayc':>12}{'Ray':>12}{'rayc/Ray':>10}"
    others = {(reading.kind, reading.name): reading for reading in ray}
    for reading in rayc:
        own, other = reading.value, others[reading.kind, reading.name].value
        ratio = "" if own is None or not other else figure(own / other)
        cells = ["-" if value is None else figure(value) for value in (own, other)]
        yield f"{reading.name:46}{cells[0]:>12}{cells[1]:>12}{ratio:>10}"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    microbenchmark.add_arguments(parser)
    parser.description = __doc__.splitlines()[0]
    parser.add_argument("--engine", choices=(*ENGINES, "both"), default="rayc")
    parser.add_argument(
        "--ray-python",
        default=sys.executable,
        metavar="PATH",
        help="with --engine both: the interpreter of Ray's environment; default: this one",
    )
    return parser.parse_args()


def main() -> int:
    options = parse_arguments()
    engines: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        os.environ.update(ray_variables(Path(folder)))
        if options.engine == "both":
            for engine in ENGINES:
                print(f"\n{engine}", flush=True)
                engines[engine] = in_its_python(engine, options, folder)
                write(options.json, engines)  # what there is, should the rest be interrupted
            print()
            readings = [engines[engine]["readings"] for engine in ENGINES]
            print(*comparison(*readings), sep="\n")
        else:
            engines[options.engine] = {
                **description(options.engine),
                "quick": options.quick,
                "readings": measure(options.engine, options),
            }
    write(options.json, engines)
    any_reading = any(entry["readings"] for entry in engines.values())
    return 0 if any_reading else microbenchmark.nothing_selected()


if __name__ == "__main__":
    sys.exit(main())
