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
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from drivers import (
    GONE_WITHIN_S,
    ROOT,
    Driver,
    open_descriptors,
    session_folders,
    session_processes,
    wait_until,
)

TEST_TIMEOUT_S = 100

# A shell starts what runs in the background with SIGINT ignored, and Python leaves it so; the tests
# of Ctrl-C are about programs in the foreground.
signal.signal(signal.SIGINT, signal.default_int_handler)

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


@pytest.fixture
def small_disk() -> Iterator[str]:
    """A folder on a file system of one megabyte."""
    folder = tempfile.mkdtemp(dir="/tmp")
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        os.rmdir(folder)
        pytest.skip("only root can mount a small disk")
    yield folder
    import rayc

    rayc.shutdown()
    subprocess.run(["umount", "-l", folder], check=True)
    os.rmdir(folder)
