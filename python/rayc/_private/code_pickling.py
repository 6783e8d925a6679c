"""Pickles functions and classes by value, keeping the names of their source files.

cloudpickle leaves these out; with them, a worker's tracebacks show where the code stands,
and its lines.
"""

from __future__ import annotations

import io
from collections import ChainMap
from types import CodeType
from typing import Any, ClassVar

import cloudpickle

_PROTOCOL = 5
_NO_FILE = "<dynamic-code>"  # what cloudpickle writes instead


def _reduce_code(code: CodeType) -> tuple[Any, ...]:
    make, fields, *rest = cloudpickle.Pickler.dispatch_table[CodeType](code)
    kept = tuple(code.co_filename if field == _NO_FILE else field for field in fields)
    return (make, kept, *rest)


_OF_CLOUDPICKLE = cloudpickle.Pickler.dispatch_table


class CodePickler(cloudpickle.Pickler):  # type: ignore[misc]
    """A cloudpickle.Pickler that keeps the names of source files."""

    dispatch_table: ClassVar[Any] = ChainMap({CodeType: _reduce_code}, _OF_CLOUDPICKLE)


def dumps(value: Any) -> bytes:
    """Pickle a function, a class, or anything else."""
    with io.BytesIO() as file:
        CodePickler(file, _PROTOCOL).dump(value)
        return file.getvalue()
