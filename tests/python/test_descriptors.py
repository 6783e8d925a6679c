"""PythonFunctionDescriptor: names the code of a task."""

from __future__ import annotations

import pytest

from rayc._raylet import FunctionID, PythonFunctionDescriptor


def function() -> None:
    pass


class Outer:
    class Inner:
        pass


def test_from_a_function() -> None:
    descriptor = PythonFunctionDescriptor.from_function(function, "abc123")
    assert descriptor.module_name == __name__
    assert descriptor.class_name == ""
    assert descriptor.function_name == "function"
    assert descriptor.function_hash == "abc123"
    assert not descriptor.is_actor_method()


def test_from_a_class() -> None:
    descriptor = PythonFunctionDescriptor.from_class(Outer.Inner)
    assert descriptor.module_name == __name__
    assert descriptor.class_name == "Outer.Inner"
    assert descriptor.function_name == "__init__"
    assert descriptor.function_hash
    assert descriptor.is_actor_method()


def test_a_class_is_described_anew_each_time() -> None:
    one = PythonFunctionDescriptor.from_class(Outer)
    two = PythonFunctionDescriptor.from_class(Outer)
    assert one.function_hash != two.function_hash
    assert one != two


@pytest.mark.parametrize(
    "parts",
    [
        ("module", "f"),
        ("package.module", "f.<locals>.g", "", "hash"),
        ("m", "method", "Class"),
        ("m", "__init__", "Class", "0" * 32),
        ("naïve", "\u20ac", "\U0001f600", ""),
        ("", "", "", ""),
    ],
)
def test_round_trip_through_the_message(parts: tuple[str, ...]) -> None:
    descriptor = PythonFunctionDescriptor(*parts)
    again = PythonFunctionDescriptor.from_message(descriptor.to_message())
    assert again == descriptor
    assert hash(again) == hash(descriptor)
    assert again.to_dict() == descriptor.to_dict()
    assert again.function_id == descriptor.function_id


def test_malformed_messages() -> None:
    message = PythonFunctionDescriptor("module", "function", "Class", "hash").to_message()
    for bad in (b"", b"\0", b"\xff" * 64, message[: len(message) // 2], message[1:]):
        with pytest.raises(ValueError):
            PythonFunctionDescriptor.from_message(bad)
    with pytest.raises(TypeError):
        PythonFunctionDescriptor.from_message("text")  # type: ignore[arg-type]


def test_equality_is_over_all_parts() -> None:
    parts = ["module", "function", "Class", "hash"]
    descriptor = PythonFunctionDescriptor(*parts)
    assert descriptor == PythonFunctionDescriptor(*parts)
    for index in range(4):
        other = [*parts]
        other[index] += "x"
        assert PythonFunctionDescriptor(*other) != descriptor
        assert PythonFunctionDescriptor(*other).function_id != descriptor.function_id
    assert descriptor != "module"


def test_parts_do_not_run_into_each_other() -> None:
    assert (
        PythonFunctionDescriptor("ab", "c").function_id
        != PythonFunctionDescriptor("a", "bc").function_id
    )


def test_the_function_id() -> None:
    descriptor = PythonFunctionDescriptor("module", "function")
    assert isinstance(descriptor.function_id, FunctionID)
    assert len(descriptor.function_id.binary()) == 28
    assert descriptor.function_id == PythonFunctionDescriptor("module", "function").function_id


def test_as_text() -> None:
    descriptor = PythonFunctionDescriptor("module", "method", "Class", "hash")
    for part in ("module", "method", "Class"):
        assert part in descriptor.repr
    assert descriptor.to_dict()["module_name"] == "module"
    assert descriptor.to_dict()["class_name"] == "Class"
    assert descriptor.to_dict()["function_name"] == "method"
