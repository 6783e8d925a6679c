"""Actors that are found by name."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from drivers import wait_until

import rayc

pytestmark = pytest.mark.usefixtures("rayc_session")


@rayc.remote
class Store:
    def __init__(self, value: Any = None) -> None:
        self.value = value

    def read(self) -> Any:
        return self.value


def test_an_actor_is_found_by_its_name() -> None:
    store = Store.options(name="s").remote("x")
    found = rayc.get_actor("s")
    assert found == store
    assert rayc.get(found.read.remote()) == "x"


def test_found_in_tasks_and_actors() -> None:
    store = Store.options(name="s").remote("x")

    @rayc.remote
    def read() -> Any:
        return rayc.get(rayc.get_actor("s").read.remote())

    assert rayc.get(read.remote()) == "x"
    del store


def test_unknown_name() -> None:
    with pytest.raises(ValueError, match="nobody"):
        rayc.get_actor("nobody")


def test_a_name_is_taken_once() -> None:
    first = Store.options(name="s").remote()
    with pytest.raises(rayc.exceptions.ActorAlreadyExistsError) as caught:
        Store.options(name="s").remote()
    assert isinstance(caught.value, ValueError)
    assert "s" in str(caught.value)
    assert rayc.get(first.read.remote()) is None


def test_a_name_is_free_after_kill() -> None:
    first = Store.options(name="s").remote(1)
    rayc.get(first.read.remote())
    rayc.kill(first)

    def gone() -> bool:
        try:
            rayc.get_actor("s")
        except ValueError:
            return True
        return False

    assert wait_until(gone)
    second = Store.options(name="s").remote(2)
    assert rayc.get(second.read.remote()) == 2


def test_get_if_exists() -> None:
    one = Store.options(name="s", get_if_exists=True).remote(1)
    two = Store.options(name="s", get_if_exists=True).remote(2)
    assert one == two
    assert rayc.get(two.read.remote()) == 1


def test_a_found_handle_is_weak() -> None:
    store = Store.options(name="s").remote(1)
    found = rayc.get_actor("s")
    assert rayc.get(found.read.remote()) == 1
    del store
    gc.collect()

    def gone() -> bool:
        try:
            rayc.get_actor("s")
        except ValueError:
            return True
        return False

    def fails() -> bool:
        try:
            rayc.get(found.read.remote())
        except rayc.exceptions.RayActorError:
            return True
        return False

    assert wait_until(gone)
    assert wait_until(fails)


def test_namespaces() -> None:
    one = Store.options(name="s", namespace="one").remote(1)
    two = Store.options(name="s", namespace="two").remote(2)
    assert rayc.get(rayc.get_actor("s", namespace="one").read.remote()) == 1
    assert rayc.get(rayc.get_actor("s", "two").read.remote()) == 2
    with pytest.raises(ValueError):
        rayc.get_actor("s")
    listed = rayc.util.list_named_actors(all_namespaces=True)
    assert {"name": "s", "namespace": "one"} in listed
    assert {"name": "s", "namespace": "two"} in listed
    assert rayc.util.list_named_actors() == []
    del one, two


def test_list_named_actors() -> None:
    store = Store.options(name="s").remote()
    assert rayc.util.list_named_actors() == ["s"]
    del store


def test_bad_names() -> None:
    with pytest.raises(ValueError):
        rayc.get_actor("")
    with pytest.raises(ValueError):
        Store.options(name="").remote()
    with pytest.raises(TypeError):
        Store.options(name=3)
    with pytest.raises(ValueError):
        Store.options(get_if_exists=True)
    with pytest.raises(TypeError):
        rayc.get_actor("s", namespace=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        rayc.get_actor("s", namespace="")


def test_the_namespace_of_init() -> None:
    rayc.shutdown()
    rayc.init(num_cpus=1, namespace="mine")
    store = Store.options(name="s").remote(1)
    assert rayc.get_runtime_context().namespace == "mine"
    assert rayc.get(rayc.get_actor("s", namespace="mine").read.remote()) == 1

    @rayc.remote
    def namespace() -> str:
        return rayc.get_runtime_context().namespace

    assert rayc.get(namespace.remote()) == "mine"
    del store
