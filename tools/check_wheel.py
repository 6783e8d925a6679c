"""Checks what a wheel promises: its platform tag, its size, what is in it, and that it runs.

    tools/check_wheel.py dist/rayc-*.whl

Installs it into a new environment and runs a task there, with no compiler on PATH.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

WHEEL_BYTES_MAX = 8_000_000
INSTALLED_BYTES_MAX = 25_000_000
GLIBC_MAX = (2, 35)
PROGRAMS = ("raylet", "gcs_server", "plasma_store")

TRIAL = """
import rayc
rayc.init(num_cpus=1)
@rayc.remote
def add(a, b):
    return a + b
assert rayc.get(add.remote(1, 2)) == 3
rayc.shutdown()
"""


def check_contents(wheel: Path) -> list[str]:
    problems = []
    tag = re.search(r"manylinux_(\d+)_(\d+)_", wheel.name)
    if tag is None or (int(tag[1]), int(tag[2])) > GLIBC_MAX:
        problems.append(f"the tag of {wheel.name} is newer than manylinux_%d_%d" % GLIBC_MAX)
    packed = wheel.stat().st_size
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        unpacked = sum(entry.file_size for entry in archive.infolist())
    print(f"{wheel.name}: {packed / 1e6:.1f} MB, installed {unpacked / 1e6:.1f} MB")
    if packed > WHEEL_BYTES_MAX:
        problems.append(f"the wheel is over {WHEEL_BYTES_MAX} bytes")
    if unpacked > INSTALLED_BYTES_MAX:
        problems.append(f"installed it is over {INSTALLED_BYTES_MAX} bytes")
    promised = ["rayc/py.typed", *(f"rayc/bin/{program}" for program in PROGRAMS)]
    problems += [f"{name} is missing" for name in promised if name not in names]
    if sources := [
        n for n in names if n.endswith((".pyx", ".pxi", ".cpp", ".h", "CMakeLists.txt"))
    ]:
        problems.append(f"sources are in it: {sources}")
    return problems


def check_runs(wheel: Path) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        environment = Path(folder) / "venv"
        venv.create(environment, with_pip=True, symlinks=True)
        python = environment / "bin" / "python"
        clean = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "VIRTUAL_ENV"}}
        clean["PATH"] = str(environment / "bin")
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel]
        for command in (install, [python, "-c", TRIAL]):
            done = subprocess.run(command, env=clean, cwd=folder, capture_output=True, text=True)
            if done.returncode != 0:
                return [f"{' '.join(map(str, command[1:4]))} ...: {done.stdout}{done.stderr}"]
    return []


def main() -> int:
    problems = []
    for wheel in map(Path, sys.argv[1:]):
        problems += check_contents(wheel) + check_runs(wheel.resolve())
    print(*problems, sep="\n", end="\n" if problems else "")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
