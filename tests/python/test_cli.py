"""The command `rayc`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rayc.scripts.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=90,
        env={**os.environ, **variables},
    )


def test_version() -> None:
    import rayc

    done = run("--version")
    assert done.stdout.strip() == f"rayc {rayc.__version__}"


def test_without_a_command_it_lists_them() -> None:
    done = run()
    assert done.returncode == 2
    for name in ("memory", "microbenchmark", "start", "stop", "status"):
        assert name in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [["start", "--head", "--port=6379"], ["stop", "-f"], ["status", "--address", "host:1"]],
    ids=" ".join,
)
def test_clusters_are_not_there_yet(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert f"rayc {arguments[0]}" in done.stderr
    assert "not there yet" in done.stderr
    assert "rayc.init()" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["frobnicate"], "invalid choice"),
        (["microbenchmark", "--frobnicate"], "unrecognized arguments: --frobnicate"),
        (["microbenchmark", "--rows", "("], "not a regular expression"),
    ],
)
def test_bad_arguments(arguments: list[str], complaint: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert complaint in done.stderr


def test_help_loads_no_core() -> None:
    script = (
        "import sys; from rayc.scripts.cli import main\n"
        "try: main(['microbenchmark', '--help'])\n"
        "except SystemExit: pass\n"
        "assert 'rayc._raylet' not in sys.modules and 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL)


def test_microbenchmark_prints_rows(tmp_path: Path) -> None:
    file = tmp_path / "readings.json"
    done = run("microbenchmark", "--quick", "--rows", "tasks sync|^small put$", "--json", str(file))
    assert done.returncode == 0, done.stderr
    row, paired = done.stdout.splitlines()
    assert row.startswith("single client tasks sync per second ")
    assert " +- " in row
    assert paired.startswith("small put ")
    assert "of a ping-pong" in paired
    readings = json.loads(file.read_text())["rayc"]["readings"]
    assert [len(reading["values"]) for reading in readings] == [3, 7]
    assert all(value > 0 for reading in readings for value in reading["values"])


def test_microbenchmark_minds_the_environment() -> None:
    done = run(
        "microbenchmark",
        "--quick",
        TESTS_TO_RUN="single client tasks sync,small put",
        TESTS_TO_SKIP="put",
    )
    assert [line.split(" per second")[0] for line in done.stdout.splitlines()] == [
        "single client tasks sync"
    ]


def test_microbenchmark_without_a_row() -> None:
    done = run("microbenchmark", "--rows", "no such row")
    assert done.returncode == 1
    assert "no row" in done.stdout


def test_a_row_that_fails_is_not_available() -> None:
    """The rows after it are run all the same, in a new session."""
    from types import SimpleNamespace

    from rayc.scripts.benchmark.runner import Runner, selection
    from rayc.scripts.benchmark.timing import Timing

    calls = []

    def put(_value: object) -> None:
        raise NotImplementedError("put() is not there\nat all")

    engine = SimpleNamespace(
        init=lambda: calls.append("init"),
        shutdown=lambda: calls.append("shutdown"),
        put=put,
        remote=lambda function: SimpleNamespace(remote=function),
        get=lambda value: value,
    )
    timing = Timing(warm_up_s=0.0, rounds=2, round_s=0.001)
    runner = Runner(engine, timing)
    first, second = runner.rows(selection("^single client (put calls|tasks sync)"))
    runner.close()
    assert first.line() == (
        "single client put calls (Plasma Store) not available: "
        "NotImplementedError: put() is not there"
    )
    assert second.line().startswith("single client tasks sync per second ")
    assert calls == ["init", "shutdown", "init", "shutdown"]


def test_a_row_that_hangs_is_given_up() -> None:
    import time

    from rayc.scripts.benchmark.timing import TooSlow, deadline

    with pytest.raises(TooSlow, match=r"longer than 0\.05 s"), deadline(0.05):
        try:
            time.sleep(10)
        except TooSlow as error:  # as an engine may do whose call is interrupted
            raise SystemError from error
