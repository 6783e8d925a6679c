"""What /proc tells of processes: children, memory, threads, titles."""

from __future__ import annotations

import os
from pathlib import Path

PROC = Path("/proc")


def descendants(pid: int) -> list[int]:
    """The process's children, their children and so on; zombies left out."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # "pid (name) state parent ...": the name may hold anything, a ")" too.
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state != "Z":
            children.setdefault(int(parent), []).append(int(entry.name))
    found: list[int] = []
    queue = [pid]
    while queue:
        queue += (own := children.get(queue.pop(), []))
        found += own
    return sorted(found)


def pss_bytes(pid: int) -> int:
    """Proportional set size: shared pages count by the part that falls to this process."""
    for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def threads(pid: int) -> int:
    return len(os.listdir(PROC / str(pid) / "task"))


def title(pid: int) -> str:
    """What ps shows."""
    arguments = (PROC / str(pid) / "cmdline").read_bytes().rstrip(b"\0 ").split(b"\0")
    return b" ".join(arguments).decode(errors="replace").strip()
