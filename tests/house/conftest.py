"""The house's own tests: of the tree and of the built package, not of what rayc does."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def package() -> Path:
    """The folder of the installed package (never the one in the source tree)."""
    spec = importlib.util.find_spec("rayc")
    assert spec is not None and spec.origin is not None, "rayc is not installed: make install"
    return Path(spec.origin).parent


@pytest.fixture
def run_python(tmp_path: Path) -> Callable[[str], str]:
    """Runs a script in a new interpreter and returns what it printed; fails if it fails."""

    def run(script: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=tmp_path,
            env={**os.environ, "PYTHONFAULTHANDLER": "1"},
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run
