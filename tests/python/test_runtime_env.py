"""Environments of jobs, tasks and actors: variables and the working folder."""

from __future__ import annotations

import os
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

import rayc
from rayc.exceptions import RayError, RuntimeEnvSetupError
from rayc.runtime_env import RuntimeEnv


@rayc.remote
def variables(*names: str) -> list[str | None]:
    return [os.environ.get(name) for name in names]


@rayc.remote
class Variables:
    def of(self, *names: str) -> list[str | None]:
        return [os.environ.get(name) for name in names]

    def of_child(self, *names: str) -> Any:
        return rayc.get(variables.remote(*names))


def with_vars(**env_vars: str) -> dict[str, Any]:
    return {"runtime_env": {"env_vars": env_vars}}


# Variables ------------------------------------------------------------------------------


def test_variables_of_a_job_reach_tasks_and_actors() -> None:
    rayc.init(num_cpus=1, **with_vars(RT_A="job"))
    assert rayc.get(variables.remote("RT_A")) == ["job"]
    assert rayc.get(Variables.remote().of.remote("RT_A")) == ["job"]
    assert "RT_A" not in os.environ


def test_they_are_merged_per_key(rayc_session: Any) -> None:
    rayc.shutdown()
    rayc.init(num_cpus=2, **with_vars(RT_A="job", RT_B="job"))
    task = variables.options(**with_vars(RT_B="task", RT_C="task"))
    assert rayc.get(task.remote("RT_A", "RT_B", "RT_C")) == ["job", "task", "task"]
    actor = Variables.options(**with_vars(RT_A="actor")).remote()
    assert rayc.get(actor.of.remote("RT_A", "RT_B", "RT_C")) == ["actor", "job", None]
    # What it starts inherits that.
    assert rayc.get(actor.of_child.remote("RT_A", "RT_B", "RT_C")) == ["actor", "job", None]


def test_no_worker_serves_two_environments(rayc_session: Any) -> None:
    @rayc.remote
    def who(name: str) -> tuple[int, str | None]:
        return os.getpid(), os.environ.get(name)

    seen: dict[str, set[int]] = {}
    for _ in range(4):
        for value in ("", "a", "b"):
            call = who.options(**with_vars(RT_X=value)) if value else who
            pid, found = rayc.get(call.remote("RT_X"))
            assert (found or "") == value
            seen.setdefault(value, set()).add(pid)
    assert not seen[""] & seen["a"] and not seen["a"] & seen["b"] and not seen[""] & seen["b"]


def test_equal_environments_share_workers(rayc_session: Any) -> None:
    @rayc.remote
    def who() -> int:
        return os.getpid()

    one = who.options(runtime_env={"env_vars": {"RT_P": "1", "RT_Q": "2"}})
    two = who.options(runtime_env=RuntimeEnv(env_vars={"RT_Q": "2", "RT_P": "1"}))
    assert rayc.get(one.remote()) == rayc.get(two.remote())


def test_references_to_other_variables(rayc_session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rayc.shutdown()
    monkeypatch.setenv("RT_BASE", "base")
    rayc.init(
        num_cpus=1,
        **with_vars(RT_A="x:${RT_BASE}:${RT_NOT_THERE}:${rt_small}:$RT_BASE", PATH="/x:${PATH}"),
    )
    found = rayc.get(variables.remote("RT_A", "PATH"))
    assert found == ["x:base::${rt_small}:$RT_BASE", "/x:" + os.environ["PATH"]]


def test_variables_that_python_reads_when_it_starts(tmp_path: Path) -> None:
    (tmp_path / "only_on_this_path.py").write_text("VALUE = 5\n")
    rayc.init(num_cpus=1, **with_vars(PYTHONPATH=str(tmp_path), PYTHONHASHSEED="7", RT_A="a"))

    @rayc.remote
    def use() -> Any:
        import only_on_this_path  # type: ignore[import-not-found]

        return only_on_this_path.VALUE, hash("text"), os.environ["RT_A"]

    expected = subprocess.run(
        [os.sys.executable, "-c", "print(hash('text'))"],  # type: ignore[attr-defined]
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert rayc.get(use.remote()) == (5, int(expected), "a")
    for name in ("PYTHONPATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONHASHSEED"):
        with pytest.raises(NotImplementedError, match=f"{name}.*init"):
            variables.options(**with_vars(**{name: "x"}))


def test_time_zone(rayc_session: Any) -> None:
    @rayc.remote
    def hours() -> int:
        import time

        return time.timezone // 3600

    assert rayc.get(hours.options(**with_vars(TZ="XXX-5")).remote()) == -5


def test_what_the_runtime_context_says(rayc_session: Any) -> None:
    rayc.shutdown()
    rayc.init(num_cpus=1, **with_vars(RT_A="1"))

    @rayc.remote
    def ask() -> Any:
        context = rayc.get_runtime_context()
        return context.runtime_env, context.get_runtime_env_string()

    expected = {"env_vars": {"RT_A": "1"}}
    assert rayc.get_runtime_context().runtime_env == expected
    assert rayc.get(ask.remote())[0] == expected
    env, text = rayc.get(ask.options(**with_vars(RT_B="2")).remote())
    assert env == {"env_vars": {"RT_A": "1", "RT_B": "2"}}
    assert text == '{"env_vars": {"RT_A": "1", "RT_B": "2"}}'


def test_a_restarted_actor_has_its_environment_again(rayc_session: Any) -> None:
    @rayc.remote(max_restarts=1, max_task_retries=-1, **with_vars(RT_A="actor"))
    class Fragile:
        def die_once(self, marker: str) -> str | None:
            if not os.path.exists(marker):
                Path(marker).touch()
                os._exit(1)
            return os.environ.get("RT_A")

    marker = os.path.join(rayc_session.address_info["session_dir"], "died")
    assert rayc.get(Fragile.remote().die_once.remote(marker)) == "actor"


# The working folder ---------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small project."""
    folder = tmp_path / "project"
    (folder / "package" / "deep").mkdir(parents=True)
    (folder / "package" / "__init__.py").write_text("from package.value import VALUE\n")
    (folder / "package" / "value.py").write_text("VALUE = 'from the project'\n")
    (folder / "data.txt").write_text("data")
    (folder / "run.sh").write_text("#!/bin/sh\necho it runs\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "empty").mkdir()
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("")
    (folder / "secret.key").write_text("secret")
    (folder / "big.log").write_text("log")
    (folder / "package" / "deep" / "x.tmp").write_text("")
    (folder / "package" / "deep" / "keep.tmp").write_text("")
    (folder / ".gitignore").write_text("*.log\n# a comment\n*.tmp\n!keep.tmp\n/empty2/\n")
    (folder / "circle").symlink_to(folder)
    return folder


@rayc.remote
def look() -> dict[str, Any]:
    import sys

    import package  # type: ignore[import-not-found]

    files = sorted(
        os.path.join(folder, name).removeprefix("./")
        for folder, folders, names in os.walk(".")
        for name in [*names, *folders]
        if "__pycache__" not in os.path.join(folder, name)
    )
    return {
        "value": package.VALUE,
        "cwd": os.getcwd(),
        "first": sys.path[0],
        "files": files,
        "data": Path("data.txt").read_text(),
        "output": subprocess.run(["./run.sh"], capture_output=True, text=True, check=True).stdout,
        "uri": rayc.get_runtime_context().runtime_env["working_dir"],
    }


def test_a_folder_becomes_the_workers_folder(project: Path) -> None:
    env = {"working_dir": str(project), "excludes": ["*.key"]}
    session = rayc.init(num_cpus=2, runtime_env=env).address_info["session_dir"]
    found = rayc.get(look.remote())
    assert found["value"] == "from the project"
    assert found["data"] == "data"
    assert found["output"] == "it runs\n"
    assert found["first"] == found["cwd"]
    assert found["cwd"].startswith(session)
    assert found["files"] == [
        ".gitignore",
        "data.txt",
        "empty",
        "package",
        "package/__init__.py",
        "package/deep",
        "package/deep/keep.tmp",
        "package/value.py",
        "run.sh",
    ]
    assert env["working_dir"] == str(project)  # what was given is not changed
    # Unpacked once, for all workers.
    assert rayc.get([look.remote() for _ in range(3)]) == [found] * 3
    # A task may name it, and inherits it anyway.
    uri = found["uri"]
    assert uri.startswith("gcs://")
    again = look.options(runtime_env={"working_dir": uri, "env_vars": {"RT_A": "1"}})
    assert rayc.get(again.remote()) == found
    assert rayc.get(look.options(**with_vars(RT_B="1")).remote()) == found


def test_the_driver_s_own_folders_are_not_searched(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "only_here.py").write_text("")
    monkeypatch.chdir(here)

    @rayc.remote
    def use() -> None:
        import only_here  # type: ignore[import-not-found]  # noqa: F401

    rayc.init(num_cpus=1)
    rayc.get(use.remote())
    rayc.shutdown()
    rayc.init(num_cpus=1, runtime_env={"working_dir": str(project)})
    with pytest.raises(ModuleNotFoundError):
        rayc.get(use.remote())


def test_a_zip_file(project: Path, tmp_path: Path) -> None:
    path = tmp_path / "packed.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("only_in_the_zip.py", "VALUE = 6\n")

    @rayc.remote
    def use() -> int:
        import only_in_the_zip  # type: ignore[import-not-found]

        return int(only_in_the_zip.VALUE)

    rayc.init(num_cpus=1, runtime_env={"working_dir": str(path)})
    assert rayc.get(use.remote()) == 6


def test_equal_folders_make_equal_packages(project: Path) -> None:
    from rayc._private.packaging import pack

    first = pack(str(project), ())
    os.utime(project / "data.txt", (1, 1))
    assert pack(str(project), ()).uri == first.uri
    (project / "data.txt").write_text("other")
    assert pack(str(project), ()).uri != first.uri


def test_a_folder_that_is_too_large(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rayc._private import packaging

    monkeypatch.setattr(packaging, "BYTES_MAX", 1 << 20)
    (project / "noise").write_bytes(os.urandom(2 << 20))
    with pytest.raises(ValueError, match="larger than 1 MiB"):
        rayc.init(num_cpus=1, runtime_env={"working_dir": str(project)})
    assert not rayc.is_initialized()
    rayc.init(num_cpus=1, runtime_env={"working_dir": str(project), "excludes": ["noise"]})


def test_setup_that_fails(rayc_session: Any) -> None:
    nowhere = {"runtime_env": {"working_dir": "gcs://_rayc_pkg_0123.zip"}}
    with pytest.raises(RuntimeEnvSetupError, match="_rayc_pkg_0123"):
        rayc.get(variables.options(**nowhere).remote("X"), timeout=60)
    actor = Variables.options(**nowhere).remote()
    with pytest.raises(RuntimeEnvSetupError, match="_rayc_pkg_0123") as caught:
        rayc.get(actor.of.remote("X"), timeout=60)
    assert isinstance(caught.value, RayError)
    assert rayc.get(variables.remote("X")) == [None]


# Mistakes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env", "error"),
    [
        (5, TypeError),
        ([], TypeError),
        ({1: 2}, TypeError),
        ({"env_vars": ["A"]}, TypeError),
        ({"env_vars": {"A": 1}}, TypeError),
        ({"env_vars": {1: "A"}}, TypeError),
        ({"env_vars": {"A=B": "x"}}, ValueError),
        ({"env_vars": {"": "x"}}, ValueError),
        ({"env_vars": {"A": "x\0y"}}, ValueError),
        ({"working_dir": 5}, TypeError),
        ({"working_dir": ""}, ValueError),
        ({"working_dir": "/no/such/folder"}, ValueError),
        ({"working_dir": "https://example.org/x.zip"}, NotImplementedError),
        ({"excludes": "*.log"}, TypeError),
        ({"pip": ["x"]}, NotImplementedError),
        ({"pip": ["x"], "conda": "y"}, ValueError),
        ({"config": {"setup_timeout_seconds": 0}}, ValueError),
        ({"config": {"unknown": 0}}, ValueError),
    ],
)
def test_mistakes(env: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        rayc.init(num_cpus=1, runtime_env=env)
    assert not rayc.is_initialized()
    if env != [] and env != {"working_dir": "/no/such/folder"}:
        with pytest.raises(error):
            variables.options(runtime_env=env)


def test_a_local_folder_for_a_task(project: Path) -> None:
    with pytest.raises(ValueError, match="URI"):
        variables.options(runtime_env={"working_dir": str(project)})
    with pytest.raises(ValueError, match="URI"):

        @rayc.remote(runtime_env={"working_dir": "."})
        class Local:
            pass


def test_unknown_fields_are_said(capfd: pytest.CaptureFixture[str]) -> None:
    rayc.init(num_cpus=1, runtime_env={"env_var": {}})
    assert "'env_var'" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("patterns", "path", "left_out"),
    [
        (["*.log"], "a.log", True),
        (["*.log"], "deep/er/a.log", True),
        (["/a.log"], "deep/a.log", False),
        (["deep/*.log"], "deep/a.log", True),
        (["deep/*.log"], "deep/er/a.log", False),
        (["deep/**/a.log"], "deep/a.log", True),
        (["deep/**/a.log"], "deep/e/r/a.log", True),
        (["**/er"], "deep/er", True),
        (["deep/**"], "deep/er/a", True),
        (["deep/**"], "deep", False),
        (["a[0-9].txt"], "a5.txt", True),
        (["a[!0-9].txt"], "a5.txt", False),
        (["a?.txt"], "ab.txt", True),
        (["*.txt", "!b.txt"], "b.txt", False),
        (["\\#a"], "#a", True),
        (["#a"], "#a", False),
        (["folder/"], "folder", False),
        (["a.b"], "axb", False),
        (["name  "], "name", True),
    ],
)
def test_patterns(patterns: list[str], path: str, left_out: bool) -> None:
    from rayc._private.ignore_patterns import IgnorePatterns

    assert bool(IgnorePatterns(patterns).decide(path, False)) is left_out


def test_patterns_of_folders() -> None:
    from rayc._private.ignore_patterns import IgnorePatterns

    assert IgnorePatterns(["folder/"]).decide("deep/folder", True)
