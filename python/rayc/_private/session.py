"""A driver's session: its folder, its node, and its end.

The folders of sessions stand side by side under one root that only the user can enter. A
session is alive while its raylet holds the lock on its file `lock`, or its driver, named in
`driver.pid`, runs; the next session that starts removes the dead ones.
"""

from __future__ import annotations

import errno
import fcntl
import os
import pickle
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rayc import exceptions
from rayc._private import node_resources, session_versions
from rayc._private.environment import setting
from rayc._private.log_printer import LogPrinter
from rayc._private.node import NODE_IP, Node, NodeOptions
from rayc._private.runtime_env import read_at_start
from rayc._private.worker import JobSettings, global_worker
from rayc._raylet import SCRIPT_MODE, CoreWorker

_SOCKET_PATH_BYTES_MAX = 107
# What follows the root: "/<session>/sockets/worker-<16 digits>"
_SOCKET_PATH_BYTES = len("/session_2000-01-01_00-00-00_000000_1234567/sockets/worker-") + 16
_WORKERS_MAX = 4096  # of one node, far above what fits; ends a runaway recursion
_BEING_MADE_S = 60  # a folder without a driver is not touched for so long
_OPEN_FILES_WANTED = 65536

if TYPE_CHECKING:
    from rayc._private.packaging import Package


class DriverOptions(NamedTuple):
    """What is a driver's own, whether it starts a cluster or joins one."""

    job: JobSettings  # for the workers
    log_to_driver: bool  # whether to print what workers print
    package: Package | None = None  # the job's working_dir
    log_level: str = "warning"  # of the core worker, and of the raylet


class Session:
    """This process's connection to a cluster on this machine, as a driver.

    Made by `start`, which starts a private cluster first and owns it, or by `join`.

    Parameters
    ----------
    directory : str
        The session's folder.
    node : Node or None
        The node, if this process has started it.
    options : DriverOptions
        What is this driver's own.
    """

    def __init__(self, directory: str, node: Node | None, options: DriverOptions) -> None:
        job = options.job
        core = CoreWorker(
            mode=SCRIPT_MODE,
            session_dir=directory,
            namespace=job["namespace"],
            entrypoint=_entrypoint(),
            job_config=pickle.dumps(job),
            owns_cluster=node is not None,
            log_level=options.log_level,
        )
        try:
            if options.package is not None:
                from rayc._private.packaging import upload

                upload(options.package, core)
        except BaseException:
            core.shutdown()
            raise
        self.directory = directory
        self.name = os.path.basename(directory)
        self.node = node
        self._core = core
        global_worker.namespace = job["namespace"]
        global_worker.job_settings = job
        global_worker.runtime_env = job.get("runtime_env", {})
        global_worker.session = self
        global_worker.connect(SCRIPT_MODE, core, directory)
        self._printer = LogPrinter(core, quiet=not options.log_to_driver)
        self._printer.start()

    @classmethod
    def start(
        cls,
        options: DriverOptions,
        *,
        resources: dict[str, float],
        object_store_bytes: int,
        cpu_cores: Sequence[int] = (),
        spill_folders: Sequence[str] = (),
        root: str | None = None,
    ) -> Session:
        """Start a private cluster, and connect to it.

        Parameters
        ----------
        options : DriverOptions
            What is this driver's own.
        resources : dict
            Of the node.
        object_store_bytes : int
            Size of its object store.
        cpu_cores : sequence of int
            The cores that workers are pinned to, by what they hold; none: they are not.
        spill_folders : sequence of str
            Where objects go that the store has no memory for; none: the session's folder.
        root : str or None
            Where session folders are made.
        """
        _raise_limit_of_open_files()
        root = session_root(root)
        remove_dead_sessions(root)
        directory = _make_session_directory(root)
        node: Node | None = None
        try:
            node = Node(
                NodeOptions(
                    session_dir=directory,
                    resources=resources,
                    object_store_bytes=object_store_bytes,
                    workers_max=_WORKERS_MAX,
                    log_level=options.log_level,
                    cpu_cores=cpu_cores,
                    spill_folders=list(spill_folders) or [os.path.join(directory, "spill")],
                    zygote_variables=read_at_start(
                        options.job.get("runtime_env", {}).get("env_vars", {})
                    ),
                )
            )
            return cls(directory, node, options)
        except BaseException:
            if node is not None:
                node.kill()
            _remove_session_directory(directory)
            raise

    @classmethod
    def join(cls, options: DriverOptions, directory: str) -> Session:
        """Connect to the cluster of a session that another process has started.

        Raises
        ------
        ConnectionError
            If nobody serves there.
        RuntimeError
            If it is of another version of rayc or Python.
        """
        session_versions.check(directory)
        _raise_limit_of_open_files()
        try:
            return cls(directory, None, options)
        except (OSError, exceptions.RaySystemError) as error:
            raise ConnectionError(f"cannot connect to the session {directory}: {error}") from error

    def address_info(self) -> dict[str, Any]:
        """Return where the session is, as `init`'s result shows it."""
        sockets = os.path.join(self.directory, "sockets")
        return {
            "node_ip_address": NODE_IP,
            "redis_address": None,
            "object_store_address": os.path.join(sockets, "plasma"),
            "raylet_socket_name": os.path.join(sockets, "raylet"),
            "webui_url": "",
            "session_dir": self.directory,
            "metrics_export_port": 0,
            "gcs_address": os.path.join(sockets, "gcs"),
            "address": os.path.join(sockets, "gcs"),
            "dashboard_agent_listen_port": 0,
            "node_id": self._core.node_id.hex(),
        }

    def flush_logs(self) -> None:
        """Print what has arrived of what workers print."""
        self._printer.flush()

    def end(self) -> None:
        """Disconnect, and print what workers still had to say.

        If this process has started the cluster: end it first, wait for it, and remove the
        folder.
        """
        try:
            self._core.shutdown()
        finally:
            global_worker.disconnect()
            try:
                self._printer.finish()
            finally:
                if self.node is not None:
                    self.node.wait()
                    _remove_session_directory(self.directory)


def session_root(wanted: str | None) -> str:
    """Make the folder that holds the user's sessions, and return it.

    Raises
    ------
    ValueError
        If the path is too long for Unix sockets below it.
    PermissionError
        If it cannot be made, or others could write to it.
    """
    explicit = wanted or setting("TMPDIR")
    candidates = [explicit] if explicit else [tempfile.gettempdir(), "/tmp"]
    for folder in candidates:
        root = os.path.join(os.path.abspath(folder), f"rayc-{os.getuid()}")
        if len(os.fsencode(root)) + _SOCKET_PATH_BYTES <= _SOCKET_PATH_BYTES_MAX:
            break
    else:
        raise ValueError(
            f"the temporary folder {candidates[0]!r} has too long a path for the Unix sockets in "
            f"it: it may have {_SOCKET_PATH_BYTES_MAX - _SOCKET_PATH_BYTES - len('/rayc-1000')} "
            "bytes. Set RAYC_TMPDIR to a shorter one"
        )
    with _FolderErrors(root):
        os.makedirs(root, mode=0o700, exist_ok=True)
        found = os.lstat(root)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise PermissionError(
                errno.EACCES, "the folder for sessions belongs to somebody else", root
            )
        if stat.S_IMODE(found.st_mode) != 0o700:
            os.chmod(root, 0o700)
    return root


def _make_session_directory(root: str) -> str:
    now = time.time()
    moment = time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(now))
    name = f"session_{moment}_{int(now % 1 * 1e6):06d}_{os.getpid()}"
    directory = os.path.join(root, name)
    with _FolderErrors(directory):
        try:
            os.mkdir(directory, 0o700)
            with open(os.path.join(directory, "driver.pid"), "w") as file:
                file.write(f"{os.getpid()}\n{_start_time(os.getpid())}\n")
            session_versions.write(directory)
            for folder in ("sockets", "logs"):
                os.mkdir(os.path.join(directory, folder), 0o700)
            _point_latest_at(root, name)
        except OSError:
            shutil.rmtree(directory, ignore_errors=True)
            raise
    return directory


def _point_latest_at(root: str, name: str) -> None:
    temporary = os.path.join(root, f".session_latest_{os.getpid()}")
    try:
        os.unlink(temporary)
    except FileNotFoundError:
        pass
    os.symlink(name, temporary)
    os.replace(temporary, os.path.join(root, "session_latest"))


def _remove_session_directory(directory: str) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    latest = os.path.join(os.path.dirname(directory), "session_latest")
    try:
        if os.readlink(latest) == os.path.basename(directory):
            os.unlink(latest)
    except OSError:
        pass  # another session's now, or gone


def remove_dead_sessions(root: str) -> None:
    """Remove the folders of sessions that nobody ended properly."""
    try:
        entries = os.listdir(root)
    except OSError:
        return
    for name in entries:
        directory = os.path.join(root, name)
        if name.startswith("session_") and name != "session_latest" and _is_dead(directory):
            _remove_session_directory(directory)


def _is_dead(directory: str) -> bool:
    try:
        with open(os.path.join(directory, "driver.pid")) as file:
            pid_text, start_time = [*file.read().split(), "", ""][:2]
        if not pid_text:
            raise FileNotFoundError
        if _start_time(int(pid_text)) == start_time:
            return False
    except (OSError, ValueError):
        try:
            if time.time() - os.lstat(directory).st_mtime < _BEING_MADE_S:
                return False
        except OSError:
            return False  # gone meanwhile
    try:
        lock = os.open(os.path.join(directory, "lock"), os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return True  # its raylet never came up
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True


def _start_time(pid: int) -> str:
    """Return when a process started, in ticks since boot; "" if there is none.

    With it, a process is not taken for another one that had its number before.
    """
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _entrypoint() -> str:
    return sys.argv[0] if sys.argv and sys.argv[0] else "(interactive)"


def search_path_for_workers(*, with_own_folders: bool) -> list[str]:
    """Return the folders in which this driver finds its modules.

    Parameters
    ----------
    with_own_folders : bool
        Whether the script's folder and the current one are among them; not so if workers
        get a folder of their own.
    """
    script = os.path.dirname(os.path.abspath(sys.argv[0])) if sys.argv and sys.argv[0] else ""
    own = [script, os.getcwd()] if script else [os.getcwd()]
    folders = [os.path.abspath(folder) for folder in sys.path]
    if with_own_folders:
        folders = [*own[:-1], *folders, own[-1]]
    else:
        folders = [folder for folder in folders if folder not in own]
    return list(dict.fromkeys(folders))


def _raise_limit_of_open_files() -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            pass  # some sandboxes forbid it; then fewer workers fit


class _FolderErrors:
    """Turns errors of the session folder into those that `init` is documented to raise."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if not isinstance(error, OSError):
            return
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise exceptions.OutOfDiskError(
                f"The disk is full: cannot make the session folder {self._path}"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise PermissionError(
                error.errno, f"Cannot make the session folder ({error.strerror})", self._path
            ) from error


def default_node_resources(
    num_cpus: int | None,
    num_gpus: int | None,
    custom: dict[str, int],
    memory: int | None,
    object_store_bytes: int,
) -> dict[str, float]:
    """Return the resources of this node: what `init` was told, and the rest as found."""
    cpus = node_resources.cpu_count() if num_cpus is None else num_cpus
    gpus = node_resources.gpu_count() if num_gpus is None else num_gpus
    if memory is None:
        free = node_resources.available_memory_bytes() - object_store_bytes
        memory = max(free, 0)
    resources: dict[str, float] = {
        "CPU": cpus,
        "GPU": gpus,
        "memory": memory,
        "object_store_memory": object_store_bytes,
        "node:127.0.0.1": 1,
        "node:__internal_head__": 1,
    }
    kind = node_resources.accelerator_type() if gpus else None
    if kind:
        resources[f"accelerator_type:{kind}"] = 1
    resources.update(custom)
    return {name: amount for name, amount in resources.items() if amount > 0}
