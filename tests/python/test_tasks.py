"""Remote functions."""

from __future__ import annotations

import functools
import inspect
import os
import time
from typing import Any

import pytest

import rayc

pytestmark = pytest.mark.usefixtures("rayc_session")


@rayc.remote
def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


def test_a_task_returns_its_value() -> None:
    assert rayc.get(add.remote(1, 2)) == 3


def test_arguments_by_position_name_and_default() -> None:
    @rayc.remote
    def everything(a: Any, /, b: Any, *rest: Any, c: Any = 3, **more: Any) -> Any:
        return a, b, rest, c, more

    assert rayc.get(everything.remote(1, 2)) == (1, 2, (), 3, {})
    assert rayc.get(everything.remote(1, b=2, c=4)) == (1, 2, (), 4, {})
    assert rayc.get(everything.remote(1, 2, 5, 6, c=7, d=8)) == (1, 2, (5, 6), 7, {"d": 8})


def test_tasks_run_in_other_processes() -> None:
    @rayc.remote
    def pid() -> int:
        return os.getpid()

    assert rayc.get(pid.remote()) != os.getpid()


def test_tasks_run_at_the_same_time(tmp_path: Any) -> None:
    @rayc.remote
    def meet(mine: str, other: str) -> bool:
        open(mine, "w").close()
        deadline = time.monotonic() + 30
        while not os.path.exists(other):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.001)
        return True

    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    assert rayc.get([meet.remote(a, b), meet.remote(b, a)]) == [True, True]


def test_many_tasks() -> None:
    refs = [add.remote(i, i) for i in range(1000)]
    assert rayc.get(refs) == [2 * i for i in range(1000)]


def test_a_reference_as_argument_becomes_its_value() -> None:
    assert rayc.get(add.remote(add.remote(1, 2), b=add.remote(3, 4))) == 10


def test_a_chain_of_tasks() -> None:
    ref = add.remote(0)
    for _ in range(50):
        ref = add.remote(ref)
    assert rayc.get(ref) == 51


def test_a_nested_reference_stays_one() -> None:
    @rayc.remote
    def open_box(box: list[Any]) -> Any:
        assert isinstance(box[0], rayc.ObjectRef)
        return rayc.get(box[0])

    assert rayc.get(open_box.remote([add.remote(1, 2)])) == 3


def test_several_returns() -> None:
    @rayc.remote(num_returns=3)
    def three() -> tuple[int, ...]:
        return 1, 2, 3

    refs = three.remote()
    assert isinstance(refs, list)
    assert rayc.get(refs) == [1, 2, 3]


def test_num_returns_by_option() -> None:
    @rayc.remote
    def numbers(n: int) -> list[int]:
        return list(range(n))

    assert rayc.get(numbers.options(num_returns=2).remote(2)) == [0, 1]
    assert rayc.get(numbers.remote(2)) == [0, 1]
    assert numbers.options(num_returns=0).remote(0) is None


def test_wrong_number_of_returns_is_an_error() -> None:
    @rayc.remote(num_returns=2)
    def three() -> tuple[int, ...]:
        return 1, 2, 3

    for ref in three.remote():
        with pytest.raises(ValueError):
            rayc.get(ref)


def test_none_and_no_return() -> None:
    @rayc.remote
    def nothing() -> None:
        pass

    assert rayc.get(nothing.remote()) is None


def test_closures_and_globals_travel() -> None:
    factor = 7

    @rayc.remote
    def scaled(x: int) -> int:
        return x * factor

    assert rayc.get(scaled.remote(6)) == 42


def test_a_task_may_call_itself() -> None:
    @rayc.remote
    def factorial(n: int) -> int:
        if n == 0:
            return 1
        result: int = rayc.get(factorial.remote(n - 1))
        return n * result

    assert rayc.get(factorial.remote(5)) == 120


def test_functions_of_one_name_do_not_collide() -> None:
    def make(value: int) -> Any:
        @rayc.remote
        def same() -> int:
            return value

        return same

    one, two = make(1), make(2)
    assert rayc.get([one.remote(), two.remote(), one.remote()]) == [1, 2, 1]


def test_remote_as_a_call() -> None:
    twice = rayc.remote(lambda x: 2 * x)
    assert rayc.get(twice.remote(4)) == 8
    with_options = rayc.remote(num_cpus=2)(lambda: 1)
    assert rayc.get(with_options.remote()) == 1


def test_options_make_a_variant() -> None:
    variant = add.options(name="other", num_cpus=2, max_retries=0)
    assert rayc.get(variant.remote(1, 2)) == 3
    assert rayc.get(add.remote(1, 2)) == 3


def test_the_original_function_is_kept() -> None:
    assert add._function(1, 2) == 3
    assert add.__name__ == "add"
    assert inspect.signature(add.remote) == inspect.signature(add._function)
    assert add.remote.__doc__ == "Add two numbers."


def test_decorated_functions_can_be_remote() -> None:
    def plus_one(function: Any) -> Any:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs) + 1

        return call

    @rayc.remote
    @plus_one
    def double(x: int) -> int:
        return 2 * x

    assert rayc.get(double.remote(3)) == 7
    with pytest.raises(TypeError):
        double.remote(1, 2)


def test_a_large_argument_and_a_large_result() -> None:
    @rayc.remote
    def flip(data: bytes) -> bytes:
        return data[::-1]

    data = os.urandom(3_000_000)
    assert rayc.get(flip.remote(data)) == data[::-1]


def test_a_remote_function_as_argument() -> None:
    @rayc.remote
    def call(function: Any, *args: Any) -> Any:
        return rayc.get(function.remote(*args))

    assert rayc.get(call.remote(add, 2, 3)) == 5


def test_tasks_of_threads() -> None:
    import threading

    results: list[int] = []

    def work(start: int) -> None:
        results.extend(rayc.get([add.remote(start, i) for i in range(50)]))

    threads = [threading.Thread(target=work, args=(1000 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == sorted(1000 * n + i for n in range(4) for i in range(50))


def test_custom_resources_limit_what_runs() -> None:
    rayc.shutdown()
    rayc.init(num_cpus=2, resources={"licence": 1})

    @rayc.remote(resources={"licence": 1}, num_cpus=0)
    def use(path: str) -> bool:
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            return False
        time.sleep(0.02)
        os.close(handle)
        os.unlink(path)
        return True

    path = os.path.join(os.environ["RAYC_TMPDIR"], "licence")
    assert all(rayc.get([use.remote(path) for _ in range(6)]))


def test_fractional_cpus(tmp_path: Any) -> None:
    @rayc.remote(num_cpus=0.5)
    def meet(index: int, folder: str, count: int) -> bool:
        open(os.path.join(folder, str(index)), "w").close()
        deadline = time.monotonic() + 30
        while len(os.listdir(folder)) < count:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.001)
        return True

    assert all(rayc.get([meet.remote(i, str(tmp_path), 4) for i in range(4)]))
