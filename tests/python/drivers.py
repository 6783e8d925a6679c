"""Drivers and their sessions, as the tests start and watch them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

GONE_WITHIN_S = 2.0

# All sessions of the tests, also of drivers that tests start, stand under one folder of
# their own. Its path is short, as those of Unix sockets must be.
ROOT = tempfile.mkdtemp(prefix="rt", dir="/tmp")
os.environ["RAYC_TMPDIR"] = ROOT
for _name in ("RAYC_ADDRESS", "RAY_ADDRESS"):
    os.environ.pop(_name, None)


def session_processes() -> dict[int, str]:
    """Return the processes of sessions under ROOT, whoever started them: pid to command."""
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        folder = f"/proc/{name}"
        try:
            with open(f"{folder}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    continue
            with open(f"{folder}/environ", "rb") as file:
                of_session = f"RAYC_SESSION_DIR={ROOT}".encode() in file.read()
            with open(f"{folder}/cmdline", "rb") as file:
                command = file.read().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        if of_session or (ROOT in command and "raylet" in command):
            found[int(name)] = command
    return found


def session_folders() -> list[str]:
    """Return the session folders that exist under ROOT."""
    root = Path(ROOT, f"rayc-{os.getuid()}")
    if not root.exists():
        return []
    return sorted(path.name for path in root.iterdir() if path.is_dir() and not path.is_symlink())


def wait_until(condition: Callable[[], Any], timeout_s: float = 10.0) -> bool:
    """Return whether a condition came true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def open_descriptors() -> dict[str, str]:
    """Return this process's open files."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            pass  # that of the listing itself
    return found


class Driver:
    """A Python program of its own that uses rayc."""

    def __init__(self, code: str, *arguments: str, **variables: str) -> None:
        self.folder = tempfile.mkdtemp(prefix="driver")
        script = Path(self.folder, "driver.py")
        script.write_text(textwrap.dedent(code))
        self.process = subprocess.Popen(
            [sys.executable, str(script), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **variables},
        )

    def read_until(self, word: str) -> str:
        """Return the next line of its output that starts with a word."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(word):
                return line[len(word) :].strip()
        raise AssertionError(f"the driver ended without saying {word!r}: {self.finish()}")

    def finish(self, timeout_s: float = 60.0) -> tuple[int, str, str]:
        """Wait for its end; return exit code and the rest of its output and errors."""
        try:
            out, err = self.process.communicate(timeout=timeout_s)
        finally:
            self.close()
        return self.process.returncode, out, err

    def close(self) -> None:
        """Remove what is left of it."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        shutil.rmtree(self.folder, ignore_errors=True)
