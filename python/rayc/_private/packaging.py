"""Packs a folder for the workers, and unpacks it there.

A package is a zip file under its content's hash: it is in the GCS's key-value store once,
and once on the disk of each node, in the session's folder.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import os
import shutil
import stat
import zipfile
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from rayc import exceptions
from rayc._private.environment import flag
from rayc._private.ignore_patterns import IgnorePatterns
from rayc._private.runtime_env import PACKAGE_PROTOCOL

if TYPE_CHECKING:
    from rayc._raylet import CoreWorker

BYTES_MAX = 512 * 1024 * 1024
NAMESPACE = "pkg"
_NAME_PREFIX = "_rayc_pkg_"
_ALWAYS_EXCLUDED = (".git", ".venv", "venv", "__pycache__")
_FIXED_TIME = (1980, 1, 1, 0, 0, 0)  # so that equal contents make equal packages


class Package(NamedTuple):
    """A packed folder."""

    uri: str
    data: bytes


def pack(path: str, excludes: Sequence[str]) -> Package:
    """Pack a folder, or take a zip file as it is.

    Raises
    ------
    ValueError
        If there is no such folder or zip file, or it is too large.
    """
    path = os.path.abspath(os.path.expanduser(path))
    if os.path.isdir(path):
        data = _zip_of_folder(path, excludes)
    elif os.path.isfile(path) and zipfile.is_zipfile(path):
        if os.path.getsize(path) > BYTES_MAX:
            raise _too_large(path)
        with open(path, "rb") as file:
            data = file.read()
    else:
        raise ValueError(f"working_dir={path!r} is neither a folder nor a zip file")
    digest = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    return Package(f"{PACKAGE_PROTOCOL}{_NAME_PREFIX}{digest}.zip", data)


def _too_large(path: str) -> ValueError:
    return ValueError(
        f"working_dir={path!r} is larger than {BYTES_MAX // 2**20} MiB packed. Leave out what "
        "workers do not need, by runtime_env['excludes'] or a .gitignore, and pass data as objects"
    )


def _zip_of_folder(folder: str, excludes: Sequence[str]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in _files_of(folder, excludes):
            path = os.path.join(folder, name)
            mode = os.stat(path).st_mode
            entry = zipfile.ZipInfo(name + "/" if stat.S_ISDIR(mode) else name, _FIXED_TIME)
            entry.external_attr = (mode & 0xFFFF) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            if stat.S_ISDIR(mode):
                archive.writestr(entry, b"")
                continue
            with open(path, "rb") as source, archive.open(entry, "w") as target:
                shutil.copyfileobj(source, target, 1 << 20)
            if stream.tell() > BYTES_MAX:
                raise _too_large(folder)
    return stream.getvalue()


def _files_of(folder: str, excludes: Sequence[str]) -> Iterator[str]:
    """Yield what belongs into the package, folders too, in a fixed order."""
    base = IgnorePatterns([*_ALWAYS_EXCLUDED, *excludes])
    use_gitignore = not flag("RUNTIME_ENV_IGNORE_GITIGNORE", False)
    seen = {os.path.realpath(folder)}

    def walk(prefix: str, outer: list[tuple[str, IgnorePatterns]]) -> Iterator[str]:
        here = os.path.join(folder, prefix)
        rules = [*outer]
        if use_gitignore:
            try:
                with open(os.path.join(here, ".gitignore"), encoding="utf-8") as file:
                    rules.append((prefix, IgnorePatterns(file)))
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                pass
        for entry in sorted(os.scandir(here), key=lambda entry: entry.name):
            name = prefix + entry.name
            is_folder = entry.is_dir()
            if base.decide(name, is_folder) or _left_out(rules, name, is_folder):
                continue
            if is_folder:
                real = os.path.realpath(entry.path)
                if entry.is_symlink() and real in seen:
                    continue  # it would go round in circles
                seen.add(real)
                yield name
                yield from walk(name + "/", rules)
            elif entry.is_file():  # no sockets, no pipes, no links to nowhere
                yield name

    return walk("", [])


def _left_out(rules: list[tuple[str, IgnorePatterns]], name: str, is_folder: bool) -> bool:
    for prefix, patterns in reversed(rules):
        decision = patterns.decide(name[len(prefix) :], is_folder)
        if decision is not None:
            return decision
    return False


def upload(package: Package, core: CoreWorker) -> None:
    """Put a package where workers fetch it from, unless it is there."""
    core.kv_put(package.uri.encode(), package.data, NAMESPACE, overwrite=False)


def fetch(uri: str, session_dir: str, core: CoreWorker) -> str:
    """Return the folder with a package's content; the first of the node unpacks it.

    Raises
    ------
    RuntimeEnvSetupError
        If it cannot be had.
    """
    name = uri.removeprefix(PACKAGE_PROTOCOL).removesuffix(".zip")
    if not name.startswith(_NAME_PREFIX) or "/" in name:
        raise exceptions.RuntimeEnvSetupError(f"working_dir={uri!r} is no package of init()")
    base = os.path.join(session_dir, "runtime_resources")
    folder = os.path.join(base, name)
    try:
        os.makedirs(base, mode=0o700, exist_ok=True)
        lock = os.open(folder + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not os.path.isdir(folder):
                data = core.kv_get(uri.encode(), NAMESPACE)
                if data is None:
                    raise exceptions.RuntimeEnvSetupError(
                        f"The package {uri} is not in this cluster: was it uploaded in another one?"
                    )
                _unpack(data, folder)
        finally:
            os.close(lock)
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full" if full else str(error)
        raise exceptions.RuntimeEnvSetupError(
            f"The working_dir {uri} could not be unpacked into {folder}: {reason}"
        ) from error
    return folder


def _unpack(data: bytes, folder: str) -> None:
    temporary = f"{folder}.{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for entry in archive.infolist():
                path = archive.extract(entry, temporary)
                mode = entry.external_attr >> 16
                if mode and not stat.S_ISLNK(mode):
                    os.chmod(path, (mode & 0o777) | 0o600 | (0o700 if entry.is_dir() else 0))
        os.makedirs(temporary, exist_ok=True)  # an empty package has none
        os.rename(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
