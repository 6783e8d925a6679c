"""How long a whole program takes that starts the engine, runs one task and ends.

Wall time of a new interpreter, over that of an empty one. The two take turns, so that what else the
machine does falls on both.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EMPTY = "empty interpreter"
WHOLE = "import, init, one task, shutdown"


def scripts(engine: str) -> dict[str, str]:
    """Return what is run, by its name."""
    return {
        EMPTY: "",
        f"import {engine}": f"import {engine}\n",
        WHOLE: f"""\
import {engine}

{engine}.init(num_cpus=2)


@{engine}.remote
def add(a, b):
    return a + b


assert {engine}.get(add.remote(1, 2)) == 3
{engine}.shutdown()
""",
    }


def seconds(script: Path) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, script], check=True)
    return time.perf_counter() - start


def measure(engine: str, runs: int) -> dict[str, list[float]]:
    """Return the seconds of every run of every script."""
    texts = scripts(engine)
    figures: dict[str, list[float]] = {name: [] for name in texts}
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / f"{number}.py" for number, name in enumerate(texts)}
        for name, path in paths.items():
            path.write_text(texts[name])
            seconds(path)  # fills the file cache
        for _ in range(runs):
            for name, path in paths.items():
                figures[name].append(seconds(path))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", default="rayc", help="the module to import")
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    figures = measure(options.engine, options.runs)
    floor = statistics.median(figures[EMPTY])
    for name, values in figures.items():
        median = statistics.median(values)
        print(
            f"{name:34}{median:7.3f} s  ({min(values):.3f} to {max(values):.3f} s,"
            f" {options.runs} runs)  over an empty interpreter {median - floor:.3f} s"
        )


if __name__ == "__main__":
    main()
