"""What is worth knowing of the machine beside its figures; nothing that names it."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "source tree"


def description(engine: str) -> dict[str, str]:
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {
        "version": installed(engine),
        "cpus": str(len(os.sched_getaffinity(0))),
        "cpu": cpu_model(),
        "memory": f"{memory_gb:.0f} GB",
        "system": f"Linux {'.'.join(platform.release().split('.')[:2])}",
        "python": platform.python_version(),
    }
