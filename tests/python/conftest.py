"""Sessions for the tests, and a look around after each: nothing may be left."""

from __future__ import annotations

import faulthandler
import gc
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

TEST_TIMEOUT_S = 100
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


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Note which tests have failed."""
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report


@pytest.fixture(autouse=True)
def _deadline(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that hangs, with the stacks of all threads."""
    if request.config.pluginmanager.hasplugin("timeout"):
        yield  # that plugin does the same
        return

    def expire(signum: int, frame: Any) -> None:
        faulthandler.dump_traceback(file=sys.__stderr__)
        pytest.fail(f"the test has not ended within {TEST_TIMEOUT_S} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.alarm(TEST_TIMEOUT_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session", autouse=True)
def _warm_up() -> Iterator[None]:
    """Start a session once, so that what is opened once and for all does not look like a leak."""
    import rayc

    rayc.init(num_cpus=1)
    rayc.shutdown()
    yield
    shutil.rmtree(ROOT, ignore_errors=True)


@pytest.fixture(autouse=True)
def _nothing_is_left(
    request: pytest.FixtureRequest, _deadline: None, _warm_up: None
) -> Iterator[None]:
    """After each test: no process of a session, no folder, no descriptor is left."""
    import rayc

    before = open_descriptors()
    yield
    rayc.shutdown()
    gone = wait_until(lambda: not session_processes(), GONE_WITHIN_S)
    left = session_processes()
    for pid in left:  # or they would fail the tests that follow
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    folders = session_folders()
    shutil.rmtree(Path(ROOT, f"rayc-{os.getuid()}"), ignore_errors=True)
    assert gone, f"processes of the session are left: {left}"
    assert not folders, f"session folders are left: {folders}"
    if request.node.stash.get(FAILED, False):
        return  # its traceback keeps objects alive, and these their files
    gc.collect()
    after = open_descriptors()
    new = {name: target for name, target in after.items() if name not in before}
    assert len(after) <= len(before), f"file descriptors are left: {new}"


@pytest.fixture
def rayc_session() -> Iterator[Any]:
    """A session with two CPUs; the value is what `init` returned."""
    import rayc

    context = rayc.init(num_cpus=2)
    yield context
    rayc.shutdown()


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


@pytest.fixture
def start_driver() -> Iterator[Callable[..., Driver]]:
    """Start programs that use rayc; they are ended with the test."""
    drivers: list[Driver] = []

    def start(code: str, *arguments: str, **variables: str) -> Driver:
        drivers.append(Driver(code, *arguments, **variables))
        return drivers[-1]

    yield start
    for driver in drivers:
        driver.close()


@pytest.fixture
def run_driver(start_driver: Callable[..., Driver]) -> Callable[..., str]:
    """Run a program that uses rayc, and return its output; it must succeed."""

    def run(code: str, *arguments: str, **variables: str) -> str:
        status, out, err = start_driver(code, *arguments, **variables).finish()
        assert status == 0, f"status {status}\n{out}\n{err}"
        return out

    return run
