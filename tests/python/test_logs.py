"""What tasks and actors print appears on the driver's terminal, once, and in time."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from rayc._private.log_printer import Deduplicator, Line, format_line

DRIVER = """
    import os, sys
    import rayc

    rayc.init(num_cpus=2)

    @rayc.remote
    def speak(n):
        for i in range(n):
            print("line", i)
        print("to stderr", file=sys.stderr)
        return os.getpid()

    @rayc.remote
    class Speaker:
        def speak(self):
            print("from the actor")
            return os.getpid()
"""


def test_lines_appear_with_their_source(start_driver: Callable[..., Any]) -> None:
    driver = start_driver(
        DRIVER
        + """
    print("task", rayc.get(speak.remote(3)))
    speaker = Speaker.remote()
    print("actor", rayc.get(speaker.speak.remote()))
    """
    )
    status, out, err = driver.finish()
    assert status == 0
    task = re.search(r"^task (\d+)$", out, re.M)
    actor = re.search(r"^actor (\d+)$", out, re.M)
    assert task
    assert actor
    for i in range(3):
        assert out.count(f"(speak pid={task[1]}) line {i}\n") == 1
    assert f"(Speaker pid={actor[1]}) from the actor\n" in out
    assert f"(speak pid={task[1]}) to stderr\n" in err


def test_lines_come_before_the_result(start_driver: Callable[..., Any]) -> None:
    driver = start_driver(
        DRIVER
        + """
    for n in range(20):
        rayc.get(speak.remote(1))
        print("after", n)
    """,
        RAYC_DEDUP_LOGS="0",
    )
    status, out, _ = driver.finish()
    assert status == 0
    lines = [line for line in out.splitlines() if "line 0" in line or "after" in line]
    assert len(lines) == 40
    assert ["after" in line for line in lines] == [False, True] * 20


def test_no_line_is_lost_or_doubled(start_driver: Callable[..., Any]) -> None:
    driver = start_driver(
        """
    import rayc

    rayc.init(num_cpus=2)

    @rayc.remote
    def many(task):
        for i in range(500):
            print(f"task {task} line {i}")

    rayc.get([many.remote(t) for t in range(4)])
    """,
        RAYC_DEDUP_LOGS="0",
    )
    status, out, _ = driver.finish()
    assert status == 0
    texts = re.findall(r"\) (task \d line \d+)$", out, re.M)
    assert sorted(texts) == sorted(f"task {t} line {i}" for t in range(4) for i in range(500))


def test_what_a_task_prints_last_is_not_lost_at_exit(start_driver: Callable[..., Any]) -> None:
    driver = start_driver(
        """
    import os
    import rayc

    @rayc.remote
    def f():
        print("without newline", end="")
        os.write(1, b"to the descriptor\\n")

    rayc.get(f.remote())
    """
    )
    status, out, _ = driver.finish()
    assert status == 0
    assert "without newline" in out
    assert "to the descriptor" in out


def test_output_of_subprocesses(start_driver: Callable[..., Any]) -> None:
    driver = start_driver(
        """
    import subprocess
    import rayc

    @rayc.remote
    def f():
        subprocess.run(["echo", "from the child"], check=True)

    rayc.get(f.remote())
    """
    )
    status, out, _ = driver.finish()
    assert status == 0
    assert re.search(r"^\(f pid=\d+\) from the child$", out, re.M)


def test_silence(start_driver: Callable[..., Any]) -> None:
    code = """
    import sys
    import rayc

    rayc.init(num_cpus=1, log_to_driver=False)

    @rayc.remote
    def f():
        print("hidden")

    rayc.get(f.remote())
    """
    for text, variables in (
        (code, {}),
        (code.replace(", log_to_driver=False", ""), {"RAYC_LOG_TO_DRIVER": "0"}),
    ):
        status, out, err = start_driver(text, **variables).finish()
        assert (status, out, err) == (0, "", "")


def test_a_correct_program_prints_only_its_own_output(start_driver: Callable[..., Any]) -> None:
    driver = start_driver(
        """
    import rayc

    @rayc.remote
    def f(x):
        return x

    @rayc.remote
    class A:
        def f(self, x):
            return x

    a = A.remote()
    rayc.get([f.remote(i) for i in range(10)] + [a.f.remote(1)])
    print("done")
    """
    )
    assert driver.finish() == (0, "done\n", "")


def test_prefix_colours() -> None:
    line = Line("f", 12, False, "text")
    assert format_line(line, 1, colour=False) == "(f pid=12) text\n"
    assert format_line(line, 1, colour=True) == "\033[36m(f pid=12)\033[0m text\n"
    assert "[repeated 3x across cluster]" in format_line(line, 3, colour=False)
    assert format_line(Line("", 3, True, "x"), 1, False) == "(pid=3) x\n"


def shown(lines: list[tuple[Line, int]]) -> list[tuple[str, int, int]]:
    return [(line.text, line.pid, count) for line, count in lines]


def test_repeated_lines_of_several_processes_are_counted() -> None:
    dedup = Deduplicator(window_s=5)
    assert shown(dedup.add(Line("f", 1, False, "step 1"), 0.0)) == [("step 1", 1, 1)]
    for pid in (2, 3, 4):
        assert dedup.add(Line("f", pid, False, f"step {pid}"), 1.0) == []
    assert shown(dedup.expired(4.9)) == []
    assert shown(dedup.expired(5.1)) == [("step 4", 4, 3)]
    assert dedup.all() == []


def test_a_process_s_own_lines_always_pass() -> None:
    dedup = Deduplicator(window_s=5)
    for i in range(5):
        assert shown(dedup.add(Line("f", 1, False, f"step {i}"), 0.1 * i)) == [(f"step {i}", 1, 1)]
    assert dedup.all() == []


def test_nothing_is_held_back_at_the_end() -> None:
    dedup = Deduplicator(window_s=5)
    dedup.add(Line("f", 1, False, "x"), 0.0)
    dedup.add(Line("f", 2, False, "x"), 0.0)
    assert shown(dedup.all()) == [("x", 2, 1)]


@pytest.mark.parametrize("text", ["", "   "])
def test_empty_lines_pass(text: str) -> None:
    dedup = Deduplicator()
    assert len(dedup.add(Line("f", 1, False, text), 0.0)) == 1
    assert len(dedup.add(Line("f", 2, False, text), 0.0)) == 1
