"""import rayc costs next to nothing."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import rayc


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_loads_nothing_heavy() -> None:
    loaded = run(
        "import sys; before = set(sys.modules); import rayc; print(*(set(sys.modules) - before))"
    )
    assert set(loaded.split()) == {"rayc"}


def test_the_api_needs_neither_numpy_nor_logging() -> None:
    loaded = run("import sys, rayc; rayc.init; rayc.get; print(*sys.modules)").split()
    for heavy in ("numpy", "logging", "asyncio", "inspect", "cloudpickle", "dataclasses"):
        assert heavy not in loaded


def test_every_public_name_is_there() -> None:
    for name in rayc.__all__:
        assert getattr(rayc, name) is not None
    assert set(rayc.__all__) <= set(dir(rayc))
    for module in ("api", "actor", "exceptions", "remote_function", "runtime_context", "util"):
        for name in importlib.import_module(f"rayc.{module}").__all__:
            assert hasattr(importlib.import_module(f"rayc.{module}"), name)


def test_unknown_names() -> None:
    with pytest.raises(AttributeError, match="no_such_thing"):
        rayc.no_such_thing  # noqa: B018


def test_modes() -> None:
    assert (rayc.SCRIPT_MODE, rayc.WORKER_MODE, rayc.LOCAL_MODE) == (0, 1, 2)


HIDE_EXTENSION = """
import sys
from importlib.machinery import PathFinder

class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name == "rayc._raylet" else super().find_spec(name, path, target)

sys.meta_path[:] = [Finder if finder is PathFinder else finder for finder in sys.meta_path]
"""


def test_without_the_extension_an_error_says_how_to_build_it() -> None:
    said = run(
        HIDE_EXTENSION
        + """
import rayc
try:
    rayc.init
except ImportError as error:
    print(error)
"""
    )
    assert "pip install" in said


def test_plasma_needs_no_extension_of_the_cluster() -> None:
    pytest.importorskip("rayc.plasma._plasma")
    said = run(HIDE_EXTENSION + "import rayc.plasma; print('fine', 'rayc._raylet' in sys.modules)")
    assert said == "fine False"
