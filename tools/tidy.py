"""Runs clang-tidy over the C++ of src and tests, on all cores.

    tools/tidy.py              files that differ from the main branch, or are not committed yet
    tools/tidy.py --all        every file
    tools/tidy.py src/rpc/...  these files

Clang needs a build folder of its own (build/clang): gcc's has options that clang does not know. As
clang-tidy parses with clang's warnings, -Wthread-safety among them, it is also the check that the
code compiles there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "clang"


def configure() -> None:
    """Make the compilation database, and the generated headers that every file needs."""
    command = ["cmake", "-S", ROOT, "-B", BUILD, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Debug"]
    command += ["-DCMAKE_C_COMPILER=clang", "-DCMAKE_CXX_COMPILER=clang++"]
    command += ["-DRAYC_BUILD_PYTHON=OFF", "-DRAYC_BUILD_TESTS=ON"]
    for step in (command, ["cmake", "--build", BUILD, "--target", "rayc_protocol_generated"]):
        subprocess.run(step, check=True, stdout=subprocess.DEVNULL)


def compiled_files() -> list[Path]:
    entries = json.loads((BUILD / "compile_commands.json").read_text())
    return sorted({Path(entry["file"]) for entry in entries})


def changed_files() -> set[Path]:
    def git(*arguments: str) -> list[str]:
        command = ["git", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.split()

    base = git("rev-parse", "--verify", "--quiet", "origin/main") or ["HEAD"]
    names = git("diff", "--name-only", *base) + git("ls-files", "-o", "--exclude-standard")
    return {ROOT / name for name in names}


def tidy(path: Path) -> tuple[Path, int, str]:
    done = subprocess.run(
        ["clang-tidy", "--quiet", "-p", BUILD, path], capture_output=True, text=True
    )
    return path, done.returncode, done.stdout


def main() -> int:
    parser = argparse.ArgumentParser(description="clang-tidy over src and tests")
    parser.add_argument("--all", action="store_true", help="every file, not the changed ones alone")
    parser.add_argument("files", nargs="*", type=lambda name: Path(name).resolve())
    arguments = parser.parse_args()

    configure()
    files = compiled_files()
    if arguments.files:
        files = [path for path in files if path in arguments.files]
    elif not arguments.all:
        changed = changed_files()
        files = [path for path in files if path in changed]
    failed = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, code, output in pool.map(tidy, files):
            if code != 0:
                failed += 1
                print(f"== {path.relative_to(ROOT)}\n{output}", flush=True)
    print(f"clang-tidy: {len(files)} files, {failed} with findings")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
