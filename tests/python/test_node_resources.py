"""What a node is found to have."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rayc._private import node_resources


def files(root: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in place of /sys/fs/cgroup."""
    monkeypatch.setattr(node_resources, "_CGROUP_ROOT", str(tmp_path))
    monkeypatch.setattr(node_resources, "_own_cgroups", lambda: {"": "/a/b", "cpu": "/a"})
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))
    return tmp_path


def test_affinity(cgroups: Path) -> None:
    assert node_resources.cpu_count() == 16


@pytest.mark.parametrize(
    ("texts", "count"),
    [
        ({"a/b/cpu.max": "max 100000"}, 16),
        ({"a/b/cpu.max": "400000 100000"}, 4),
        ({"a/b/cpu.max": "max 100000", "a/cpu.max": "250000 100000"}, 2),  # a group around it
        ({"a/b/cpu.max": "50000 100000"}, 1),
        ({"cpu/a/cpu.cfs_quota_us": "300000", "cpu/a/cpu.cfs_period_us": "100000"}, 3),
        ({"cpu/a/cpu.cfs_quota_us": "-1", "cpu/a/cpu.cfs_period_us": "100000"}, 16),
        ({"a/b/cpuset.cpus.effective": "0-2,7"}, 4),
        ({"cpuset.cpus.effective": "1"}, 1),
    ],
)
def test_cgroups(cgroups: Path, texts: dict[str, str], count: int) -> None:
    for folder in ("a/b", "cpu/a"):
        (cgroups / folder).mkdir(parents=True, exist_ok=True)
    files(cgroups, texts)
    assert node_resources.cpu_count() == count


def test_affinity_for_real() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from rayc._private.node_resources import cpu_count; print(cpu_count())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (None, None),
        ("", []),
        ("-1", []),
        ("0,2", ["0", "2"]),
        ("GPU-ab, GPU-cd", ["GPU-ab", "GPU-cd"]),
    ],
)
def test_visible_gpus(
    value: str | None, names: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if value is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert node_resources.visible_gpus() == names


def test_memory(cgroups: Path) -> None:
    machine = node_resources.available_memory_bytes()
    assert machine > 0
    files(cgroups, {"a/memory.max": "1000000", "a/memory.current": "400000"})
    assert node_resources.available_memory_bytes() == min(machine, 600_000)


def test_the_size_of_the_object_store() -> None:
    assert node_resources.default_object_store_bytes(10**9) == 3 * 10**8
    assert node_resources.default_object_store_bytes(10**7) == node_resources.OBJECT_STORE_BYTES_MIN
    assert node_resources.default_object_store_bytes(10**13) <= 200 * 10**9


def test_environment_of_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    from rayc._private import blas_threads
    from rayc._private.task_environment import TaskEnvironment

    counts: list[int] = []
    variables: dict[str, str] = {}
    monkeypatch.setattr(blas_threads, "set_threads", counts.append)
    monkeypatch.setattr(os, "environ", variables)
    environment = TaskEnvironment()
    environment.apply({"CPU": 3.0}, {"GPU": [1, 3]}, None)
    assert variables == {"OMP_NUM_THREADS": "3", "CUDA_VISIBLE_DEVICES": "1,3"}
    environment.apply({"CPU": 0.5}, {}, None)
    assert variables == {"OMP_NUM_THREADS": "1"}
    environment.apply({}, {"GPU": [1]}, ["GPU-a", "GPU-b"])
    assert variables == {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "GPU-b"}
    assert counts == [3, 1, 1]


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    from rayc._private.task_environment import TaskEnvironment

    variables = {"OMP_NUM_THREADS": "7", "CUDA_VISIBLE_DEVICES": "4,5"}
    monkeypatch.setattr(os, "environ", variables)
    environment = TaskEnvironment()
    environment.apply({"CPU": 2.0}, {}, ["4", "5"])
    assert variables == {"OMP_NUM_THREADS": "7", "CUDA_VISIBLE_DEVICES": "4,5"}
    environment.apply({"CPU": 2.0}, {"GPU": [1]}, ["4", "5"])
    assert variables["CUDA_VISIBLE_DEVICES"] == "5"
    environment.apply({"CPU": 2.0}, {}, ["4", "5"])
    assert variables == {"OMP_NUM_THREADS": "7", "CUDA_VISIBLE_DEVICES": "4,5"}
