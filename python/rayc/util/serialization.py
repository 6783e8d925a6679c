"""Helpers for what cannot be pickled as it is."""

from __future__ import annotations

import copyreg
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, TextIO

from rayc._private.serialization_errors import find_culprit


class FailureTuple(NamedTuple):
    """A part of a value that cannot be pickled."""

    obj: Any
    name: str
    parent: Any


def inspect_serializability(
    base_obj: Any,
    name: str | None = None,
    depth: int = 3,
    print_file: TextIO | None = None,
) -> tuple[bool, set[FailureTuple]]:
    """Find out which part of a value keeps it from being pickled, and print that.

    Parameters
    ----------
    base_obj : object
        The value.
    name : str, optional
        What to call it.
    depth : int
        How deep to look.
    print_file : file, optional
        Where to print; standard output by default.

    Returns
    -------
    ok : bool
        Whether it can be pickled.
    failures : set of FailureTuple
        The part at fault, if any.
    """
    out = print_file or sys.stdout
    if name is None:
        name = str(getattr(base_obj, "__qualname__", type(base_obj).__qualname__))
    culprit = find_culprit(base_obj, name, depth)
    if culprit is None:
        print(f"{name}: can be pickled", file=out)
        return True, set()
    print(
        f"{name}: cannot be pickled, because of {culprit.path} "
        f"(a {type(culprit.value).__qualname__}): {culprit.error}",
        file=out,
    )
    return False, {FailureTuple(culprit.value, culprit.path, culprit.parent)}


_registered: set[type] = set()


def register_serializer(
    cls: type, *, serializer: Callable[[Any], Any], deserializer: Callable[[Any], Any]
) -> None:
    """Say how objects of a class are pickled in this process.

    Parameters
    ----------
    cls : type
        Of exactly which objects are.
    serializer : callable
        Returns something that can be pickled instead of the object.
    deserializer : callable
        Makes the object from that again; it is pickled too.
    """

    def reduce(value: Any) -> tuple[Callable[[Any], Any], tuple[Any]]:
        return deserializer, (serializer(value),)

    copyreg.pickle(cls, reduce)
    _registered.add(cls)


def deregister_serializer(cls: type) -> None:
    """Forget what `register_serializer` was told about a class."""
    if cls in _registered:
        _registered.discard(cls)
        copyreg.dispatch_table.pop(cls, None)
