"""How many threads numpy's linear algebra uses in a worker.

The zygote imports numpy with a single such thread, since it could not fork with more. A
worker raises the number at run time, to what the user's variables or `num_cpus` say.
"""

from __future__ import annotations

import os

VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")

# The setter's name differs by how OpenBLAS was built.
_SETTERS = (
    "scipy_openblas_set_num_threads64_",
    "scipy_openblas_set_num_threads",
    "openblas_set_num_threads64_",
    "openblas_set_num_threads",
)


def wanted_by_environment() -> int | None:
    """Return the number that the user's variables ask for, if they do."""
    for name in VARIABLES[:2]:  # those that OpenBLAS reads, in its order
        text = os.environ.get(name, "").strip()
        if text.isdigit() and int(text) > 0:
            return int(text)
    return None


def follow_environment() -> None:
    """Set the number that the user's variables ask for."""
    wanted = wanted_by_environment()
    if wanted is not None and wanted > 1:
        set_threads(wanted)


_current = 1


def set_threads(count: int) -> None:
    """Set the number in the OpenBLAS that numpy has loaded, if it has."""
    global _current
    if count == _current:
        return
    import ctypes

    for path in _loaded_libraries():
        library = ctypes.CDLL(path)
        for name in _SETTERS:
            setter = getattr(library, name, None)
            if setter is not None:
                setter(ctypes.c_int(count))
                _current = count
                break


def _loaded_libraries() -> list[str]:
    with open("/proc/self/maps") as maps:
        paths = {line.split(None, 5)[-1].strip() for line in maps if "openblas" in line}
    return sorted(path for path in paths if path.startswith("/"))
