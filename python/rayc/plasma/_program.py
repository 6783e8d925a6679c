"""The program plasma_store, as a child of this process."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rayc.plasma._plasma import Client, PlasmaConnectionError, PlasmaError

_START_WITHIN_S = 10.0
_END_WITHIN_S = 10.0


def find_program() -> str:
    beside = Path(__file__).parents[1] / "bin" / "plasma_store"
    found = str(beside) if beside.exists() else shutil.which("plasma_store")
    if found is None:
        raise FileNotFoundError(f"no program plasma_store: neither {beside} nor on PATH")
    return found


@contextmanager
def running_store(
    memory: int, spill_folders: Sequence[str], evict_lru: bool
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    with tempfile.TemporaryDirectory(prefix="plasma-") as folder:
        path = str(Path(folder, "store"))
        command = [find_program(), "-m", str(memory), "-s", path]
        for spill_folder in spill_folders:
            command += ["-d", spill_folder]
        if evict_lru:
            command.append("--evict-lru")
        process = subprocess.Popen(command)
        try:
            _wait_until_up(path, process)
            yield path, process
        finally:
            process.terminate()
            try:
                process.wait(_END_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_up(path: str, process: subprocess.Popen[bytes]) -> None:
    import time

    deadline = time.monotonic() + _START_WITHIN_S
    while True:
        try:
            return Client(path).disconnect()
        except PlasmaConnectionError:
            if process.poll() is not None:
                raise PlasmaError(
                    f"plasma_store has ended with status {process.returncode}"
                ) from None
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
