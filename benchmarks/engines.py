"""What the benchmarks of two engines share: each in a process of its own, and the comparison.

A benchmark gives `run` its function that measures an engine in this process.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from machine import description

if importlib.util.find_spec("rayc") is None:  # Ray's environment need not hold rayc
    sys.path.append(str(Path(__file__).parents[1] / "python"))

from rayc.scripts import microbenchmark
from rayc.scripts.benchmark.readings import Reading, figure

ENGINES = ("rayc", "ray")
Measure = Callable[[Any, argparse.Namespace], Iterator[Reading]]


def in_its_python(
    script: str, engine: str, options: argparse.Namespace, folder: str
) -> dict[str, Any]:
    """Measure an engine in a process of its own; return what is known of it."""
    file = Path(folder) / f"{engine}.json"
    python = options.ray_python if engine == "ray" else sys.executable
    command = [python, script, "--engine", engine, "--json", str(file)]
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


def parse_arguments(doc: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    microbenchmark.add_arguments(parser)
    parser.description = doc.splitlines()[0]
    parser.add_argument("--engine", choices=(*ENGINES, "both"), default="rayc")
    parser.add_argument(
        "--ray-python",
        default=sys.executable,
        metavar="PATH",
        help="with --engine both: the interpreter of Ray's environment; default: this one",
    )
    return parser.parse_args()


def in_this_process(
    engine_name: str, options: argparse.Namespace, measure: Measure
) -> dict[str, Any]:
    """Measure an engine here; print line by line."""
    try:
        engine: Any = importlib.import_module(engine_name)
    except ImportError as error:
        sys.exit(f"{engine_name} cannot be imported by {sys.executable}: {error}")
    readings = microbenchmark.show(measure(engine, options))
    return {**description(engine_name), "quick": options.quick, "readings": readings}


def run(script: str, doc: str, measure: Measure) -> int:
    """Measure the engines that the command line asks for; return the exit code.

    Parameters
    ----------
    script : str
        The path of the benchmark that calls this.
    doc : str
        What it is; the first line is the help's.
    measure : callable
        Yields the readings of an engine, a module.
    """
    options = parse_arguments(doc)
    engines: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        os.environ.update(ray_variables(Path(folder)))
        if options.engine == "both":
            for engine in ENGINES:
                print(f"\n{engine}", flush=True)
                engines[engine] = in_its_python(script, engine, options, folder)
                write(options.json, engines)  # what there is, should the rest be interrupted
            print()
            readings = [engines[engine]["readings"] for engine in ENGINES]
            print(*comparison(*readings), sep="\n")
        else:
            engines[options.engine] = in_this_process(options.engine, options, measure)
    write(options.json, engines)
    any_reading = any(entry["readings"] for entry in engines.values())
    return 0 if any_reading else microbenchmark.nothing_selected()
