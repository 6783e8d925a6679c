"""Starts the raylet, and waits until it serves."""

from __future__ import annotations

import errno
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence

from rayc import exceptions

READY_TIMEOUT_S = 30.0
EXIT_TIMEOUT_S = 5.0
NODE_IP = "127.0.0.1"  # a private cluster is reachable over Unix sockets only

# Process titles are written over the command line, so this is how long they may be.
_TITLE_ROOM = "-" * 200

# `-c` puts the current folder first on the search path, where a file random.py of the
# user's would be taken for the library's; and rayc may have been found through a path that
# only the driver has.
_ZYGOTE_CODE = (
    "import sys; del sys.path[0]; package_root = sys.argv[1]\n"
    "try: import rayc\n"
    "except ImportError: sys.path.append(package_root)\n"
    "from rayc._private import zygote; zygote.main()"
)


class NodeOptions:
    """What a raylet is told when it starts."""

    def __init__(
        self,
        session_dir: str,
        resources: dict[str, float],
        object_store_bytes: int,
        workers_max: int,
        log_level: str = "warning",
        zygote_variables: dict[str, str] | None = None,
        cpu_cores: Sequence[int] = (),
        spill_folders: Sequence[str] = (),
    ) -> None:
        self.session_dir = session_dir
        self.resources = resources
        self.object_store_bytes = object_store_bytes
        self.workers_max = workers_max
        self.log_level = log_level
        self.zygote_variables = zygote_variables or {}
        self.cpu_cores = cpu_cores
        self.spill_folders = spill_folders


class Node:
    """The raylet that this process started.

    It hosts the GCS, and starts the zygote, which forks the workers. It ends them all and
    itself when this process ends, in whatever way.
    """

    def __init__(self, options: NodeOptions) -> None:
        self.options = options
        self.ip = NODE_IP
        read_end, write_end = os.pipe()
        try:
            try:
                self.process = self._start(write_end)
            finally:
                os.close(write_end)
            self._wait_until_ready(read_end)
        finally:
            os.close(read_end)

    def _start(self, ready_fd: int) -> subprocess.Popen[bytes]:
        options = self.options
        command = [raylet_path(), "--session-dir", options.session_dir, "--head"]
        command += ["--owner-pid", str(os.getpid()), "--ready-fd", str(ready_fd)]
        command += ["--node-ip", self.ip]
        command += ["--object-store-bytes", str(options.object_store_bytes)]
        for folder in options.spill_folders:
            command += ["--spill-folder", folder]
        for name, amount in options.resources.items():
            command += ["--resource", f"{name}={amount:.4f}".rstrip("0").rstrip(".")]
        command += ["--log-level", options.log_level, "--max-workers", str(options.workers_max)]
        for core in options.cpu_cores:
            command += ["--cpu-core", str(core)]
        command += ["--", *variables_prefix(options.zygote_variables), *zygote_command()]
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(ready_fd,),
            start_new_session=True,  # Ctrl-C is for the driver
        )

    def _wait_until_ready(self, read_end: int) -> None:
        poll = select.poll()
        poll.register(read_end, select.POLLIN)
        deadline = time.monotonic() + READY_TIMEOUT_S
        said = b""
        try:
            while not said.endswith(b"\n"):
                left_s = deadline - time.monotonic()
                if left_s <= 0 or not poll.poll(left_s * 1000):
                    raise RuntimeError(f"the raylet did not start within {READY_TIMEOUT_S:g} s")
                data = os.read(read_end, 4096)
                if not data:
                    break
                said += data
            if said != b"ok\n":
                text = said.decode(errors="replace").strip()
                if os.strerror(errno.ENOSPC) in text:
                    raise exceptions.OutOfDiskError(
                        f"The disk is full: the raylet cannot start in {self.options.session_dir}: "
                        f"{text}"
                    )
                status = "" if text else f" (it ended with status {self.process.wait(5)})"
                raise RuntimeError(
                    f"the raylet could not start{status}: {text or 'it gave no reason'}"
                )
        except BaseException:
            self.kill()
            raise

    def is_running(self) -> bool:
        """Return whether the raylet lives."""
        return self.process.poll() is None

    def wait(self) -> None:
        """Wait for the raylet, which was told to end; kill it if it does not."""
        try:
            self.process.wait(EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the raylet at once; the others notice."""
        self.process.kill()
        self.process.wait()


def raylet_path() -> str:
    """Return the program, which is installed inside of the package.

    Raises
    ------
    RuntimeError
        If it is not there.
    """
    from rayc import _raylet

    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    # An editable install has the programs beside the extension, not beside these files.
    for folder in (package, os.path.dirname(os.path.abspath(_raylet.__file__ or package))):
        path = os.path.join(folder, "bin", "raylet")
        if os.access(path, os.X_OK):
            return path
    raise RuntimeError(f"the program {package}/bin/raylet is missing: rayc is not fully installed")


def variables_prefix(variables: dict[str, str]) -> list[str]:
    """Return what goes before a command so that it starts with these variables."""
    if not variables:
        return []
    return ["/usr/bin/env", *(f"{name}={value}" for name, value in sorted(variables.items()))]


def zygote_command() -> list[str]:
    """Return the command that starts the zygote."""
    package_root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    flags = [f"-W{option}" for option in sys.warnoptions]
    flags += [
        f"-X{name}" if value is True else f"-X{name}={value}"
        for name, value in sys._xoptions.items()
        if name in ("dev", "utf8", "faulthandler", "frozen_modules")
    ]
    if sys.flags.no_user_site:
        flags.append("-s")
    if sys.flags.dont_write_bytecode:
        flags.append("-B")
    executable = sys.executable or "python3"
    return [executable, *flags, "-c", _ZYGOTE_CODE, package_root, _TITLE_ROOM]
