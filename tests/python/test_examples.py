"""The examples run, and learn."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def needs(*packages: str) -> pytest.MarkDecorator:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(
        bool(missing), reason=f"not installed: {', '.join(missing)} (extra `demo`)"
    )


def run_example(name: str, folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@needs("sklearn")
def test_parameter_server_learns_both_ways(tmp_path: Path) -> None:
    output = run_example("parameter_server.py", tmp_path, "--updates=150", "--workers=3")
    figures = re.findall(
        r"^(\w+): test accuracy (\S+), (\S+) updates/s, (\S+) gradients/s$", output, re.MULTILINE
    )
    assert [mode for mode, *_ in figures] == ["sync", "async"]
    for _, accuracy, *rates in figures:
        assert float(accuracy) > 0.9
        assert all(float(rate.replace(",", "")) > 0 for rate in rates)


@needs("sklearn")
def test_parameter_server_repeats_itself(tmp_path: Path) -> None:
    arguments = ("--mode=sync", "--updates=20", "--workers=2", "--seed=5")
    accuracies = [
        run_example("parameter_server.py", tmp_path, *arguments).split(",")[0] for _ in range(2)
    ]
    assert accuracies[0] == accuracies[1]


@needs("gymnasium", "ale_py")
def test_pong_plays(tmp_path: Path) -> None:
    arguments = ("--actors=2", "--iterations=2", "--steps=20", "--checkpoint=game.npz")
    output = run_example("pong.py", tmp_path, *arguments)
    assert output.startswith("2 actors: ")
    assert "(2 iterations)" in output
    assert (tmp_path / "game.npz").exists()
