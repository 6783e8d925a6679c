"""How long a whole program takes that starts rayc, runs one task and ends.

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

SCRIPTS = {
    "empty interpreter": "",
    "import rayc": "import rayc\n",
    "import, init, one task, shutdown": """\
import rayc

rayc.init(num_cpus=2)


@rayc.remote
def add(a, b):
    return a + b


assert rayc.get(add.remote(1, 2)) == 3
rayc.shutdown()
""",
}


def seconds(script: Path) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, script], check=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    figures: dict[str, list[float]] = {name: [] for name in SCRIPTS}
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / f"{number}.py" for number, name in enumerate(SCRIPTS)}
        for name, path in paths.items():
            path.write_text(SCRIPTS[name])
            seconds(path)  # fills the file cache
        for _ in range(options.runs):
            for name, path in paths.items():
                figures[name].append(seconds(path))

    floor = statistics.median(figures["empty interpreter"])
    for name, values in figures.items():
        median = statistics.median(values)
        print(
            f"{name:34}{median:7.3f} s  ({min(values):.3f} to {max(values):.3f} s,"
            f" {options.runs} runs)  over an empty interpreter {median - floor:.3f} s"
        )


if __name__ == "__main__":
    main()
