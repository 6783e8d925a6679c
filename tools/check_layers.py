"""Checks that the include and import graph keeps the order of the layers, and has no cycles.

A file may use its own folder and folders of lower levels. gcs, raylet and core_worker never use
each other: they meet as messages. This keeps each layer testable without those above it.
Run by `make lint` and tests/house/test_layers.py; prints what is wrong, one line each.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]

LEVELS = {
    "common": 0,
    "protocol": 1,
    "rpc": 2,
    "plasma": 3,
    "scheduling": 3,
    "gcs": 4,
    "raylet": 5,
    "core_worker": 5,
}
# These meet as messages only, whatever their levels.
DAEMONS = {"gcs", "raylet", "core_worker"}
# Each exception with its reason.
EXCEPTIONS = {
    ("src/raylet/raylet.cc", "gcs"): "the raylet of a head node hosts the GCS",
}

# What a part of the Python package must not import: (folder or file, module, reason).
PYTHON_RULES = (
    ("_private", "rayc.util", "_private stands below the public utilities"),
    ("_private", "rayc.scripts", "_private stands below the commands"),
    ("plasma", "rayc._raylet", "rayc.plasma works without the cluster's extension"),
    ("plasma", "rayc._private", "rayc.plasma works without the cluster's runtime"),
    ("exceptions.py", "rayc._private", "exceptions are used by every layer"),
)
PYTHON_EXCEPTIONS = {
    ("_private/zygote.py", "rayc.util"): "the zygote imports ahead what its workers will need",
}

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def includes(path: Path) -> list[str]:
    """The project's own headers that a file includes, as written: folder/name.h."""
    found = INCLUDE.findall(path.read_text())
    return [name for name in found if "/" in name and name.split("/")[0] in LEVELS]


def cpp_files(root: Path) -> list[Path]:
    return sorted(p for p in (root / "src").rglob("*") if p.suffix in {".h", ".cc", ".cpp"})


def check_levels(root: Path) -> Iterator[str]:
    for path in cpp_files(root):
        relative = path.relative_to(root).as_posix()
        folder = path.relative_to(root / "src").parts[0]
        if folder not in LEVELS:
            yield f"{relative}: src/{folder} has no level in tools/check_layers.py"
            continue
        for header in includes(path):
            other = header.split("/")[0]
            if other == folder or (relative, other) in EXCEPTIONS:
                continue
            if folder in DAEMONS and other in DAEMONS:
                yield f"{relative}: includes {header}, but {folder} and {other} meet as messages"
            elif LEVELS[other] >= LEVELS[folder]:
                yield (
                    f"{relative}: includes {header}, but {folder} (level {LEVELS[folder]}) "
                    f"stands below {other} (level {LEVELS[other]})"
                )


def check_cycles(root: Path) -> Iterator[str]:
    graph = {
        path.relative_to(root / "src").as_posix(): includes(path)
        for path in cpp_files(root)
        if path.suffix == ".h"
    }
    done: set[str] = set()

    def visit(header: str, path: list[str]) -> Iterator[str]:
        if header in path:
            yield "cycle of includes: " + " -> ".join([*path[path.index(header) :], header])
        elif header in graph and header not in done:
            for other in graph[header]:
                yield from visit(other, [*path, header])
            done.add(header)

    for header in graph:
        yield from visit(header, [])


def imported_modules(path: Path, package_root: Path) -> Iterator[tuple[int, str]]:
    """(line, absolute module) for each import; of `from a import b` both a and a.b."""
    package = path.relative_to(package_root).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield node.lineno, module
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}"


def check_python(root: Path) -> Iterator[str]:
    package_root = root / "python"
    for path in sorted((package_root / "rayc").rglob("*.py")):
        place = path.relative_to(package_root / "rayc")
        for part, forbidden, reason in PYTHON_RULES:
            if place.parts[0] != part or (place.as_posix(), forbidden) in PYTHON_EXCEPTIONS:
                continue
            lines = {
                line
                for line, module in imported_modules(path, package_root)
                if module == forbidden or module.startswith(forbidden + ".")
            }
            for line in sorted(lines):
                yield f"{path.relative_to(root)}:{line}: imports {forbidden}, but {reason}"


def check(root: Path = ROOT) -> list[str]:
    return [*check_levels(root), *check_cycles(root), *check_python(root)]


def main() -> int:
    problems = check()
    print(*problems, sep="\n", end="\n" if problems else "")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
