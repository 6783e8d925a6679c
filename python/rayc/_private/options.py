"""The options of tasks, actors and methods: which exist, and what they may be.

All are checked in the same order: first that their names are known (ValueError), then
types (TypeError), then values (ValueError). What can be known only together with others,
or in a session, is checked when a call is made: see the functions at the end.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rayc._private.environment import setting

SMALLEST_AMOUNT = 0.0001  # resources are counted in units of this
LARGEST_AMOUNT = 1e14
_RETURNS_MAX = 500_000  # of one call: they travel in one message
_WHOLE_ABOVE_ONE = ("GPU", "TPU", "NPU", "HPU", "neuron_cores")

Check = Callable[[str, Any], None]


class Option(NamedTuple):
    """One option: what it must be an instance of, and a further check of its value."""

    types: tuple[type, ...]
    types_text: str
    check: Check | None = None
    optional: bool = True  # None is allowed


# Checks of values: each raises ValueError ----------------------------------------------


def check_amount(name: str, value: float) -> None:
    """Raise unless it can be an amount of a resource."""
    if math.isnan(value) or math.isinf(value):
        raise ValueError(f"{name} must be a finite number, not {value!r}")
    if value < 0:
        raise ValueError(f"{name} must not be negative, and is {value!r}")
    if value > LARGEST_AMOUNT:
        raise ValueError(f"{name} must be at most {LARGEST_AMOUNT:g}, and is {value!r}")
    if 0 < value < SMALLEST_AMOUNT:
        raise ValueError(f"{name} must be 0 or at least {SMALLEST_AMOUNT}, and is {value!r}")


def _check_resources(name: str, value: Mapping[Any, Any]) -> None:
    for key, amount in value.items():
        if not isinstance(key, str):
            raise TypeError(f"the keys of {name} must be strings, and one is {key!r}")
        if isinstance(amount, bool) or not isinstance(amount, (int, float)):
            raise TypeError(f"{name}[{key!r}] must be a number, not {amount!r}")
    for key, amount in value.items():
        if not key:
            raise ValueError(f"a key of {name} is the empty string")
        if key in ("CPU", "GPU"):
            raise ValueError(f"{name} must not contain {key!r}: use the option num_{key.lower()}s")
        check_amount(f"{name}[{key!r}]", amount)


def _at_least(minimum: int) -> Check:
    def check(name: str, value: int) -> None:
        if value < minimum:
            raise ValueError(f"{name} must be at least {minimum}, and is {value!r}")

    return check


def _check_num_returns(name: str, value: int | str) -> None:
    if isinstance(value, str):
        if value not in ("streaming", "dynamic"):
            raise ValueError(f"{name} must be a number, 'streaming' or 'dynamic', and is {value!r}")
    elif not 0 <= value <= _RETURNS_MAX:
        raise ValueError(f"{name} must be 0 to {_RETURNS_MAX}, and is {value!r}")


def _check_backpressure(name: str, value: int) -> None:
    if value == 0 or value < -1:
        raise ValueError(f"{name} must be -1 (off) or at least 1, and is {value!r}")


def _check_runtime_env(name: str, value: Any) -> None:
    from rayc._private.runtime_env import check_of_call

    check_of_call(name, value)


def _check_positive(name: str, value: int) -> None:
    if value <= 0:
        raise ValueError(f"{name} must be at least 1, and is {value!r}")


def _check_one_of(*allowed: Any) -> Check:
    def check(name: str, value: Any) -> None:
        if value not in allowed:
            listed = ", ".join(repr(one) for one in allowed)
            raise ValueError(f"{name} must be one of {listed}, and is {value!r}")

    return check


def _check_retry_exceptions(name: str, value: Any) -> None:
    if isinstance(value, (list, tuple)):
        for one in value:
            if not (isinstance(one, type) and issubclass(one, BaseException)):
                raise TypeError(f"{name} must contain exception classes only, and has {one!r}")


def _check_text_map(name: str, value: Mapping[Any, Any]) -> None:
    for key, text in value.items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise TypeError(f"{name} must map strings to strings, and has {key!r}: {text!r}")


def _check_groups(name: str, value: Mapping[Any, Any]) -> None:
    for key, count in value.items():
        if not isinstance(key, str) or isinstance(count, bool) or not isinstance(count, int):
            raise TypeError(f"{name} must map names to numbers, and has {key!r}: {count!r}")
        if count < 1:
            raise ValueError(f"{name}[{key!r}] must be at least 1, and is {count}")


def _check_fallback(name: str, value: list[Any]) -> None:
    for entry in value:
        if not isinstance(entry, dict):
            raise TypeError(f"{name} must be a list of dicts, and has {entry!r}")
        if set(entry) != {"label_selector"}:
            raise ValueError(f"each entry of {name} must have the one key 'label_selector'")


def _check_not_empty(name: str, value: str) -> None:
    if not value:
        raise ValueError(f"{name} must not be the empty string")


def _check_no_task_store_memory(name: str, value: Any) -> None:
    raise ValueError(f"{name} cannot be reserved for a task")


def _check_tensor_transport(name: str, value: bool) -> None:
    if value:
        raise ValueError(f"{name} is not supported")


# The tables ----------------------------------------------------------------------------

_NUMBER = ((int, float), "a number")
_INT = ((int,), "an integer")
_STR = ((str,), "a string")
_DICT = ((dict,), "a dict")
_BOOL = ((bool,), "True or False")
_ANY = ((object,), "anything")

_COMMON = {
    "num_cpus": Option(*_NUMBER, check_amount),
    "num_gpus": Option(*_NUMBER, check_amount),
    "resources": Option(*_DICT, _check_resources),
    "memory": Option(*_NUMBER, check_amount),
    "accelerator_type": Option(*_STR, _check_not_empty),
    "label_selector": Option(*_DICT, _check_text_map),
    "fallback_strategy": Option((list,), "a list of dicts", _check_fallback),
    "name": Option(*_STR),
    "runtime_env": Option(*_DICT, _check_runtime_env),
    "scheduling_strategy": Option(*_ANY),
    "placement_group": Option(*_ANY),
    "placement_group_bundle_index": Option(*_INT, optional=False),
    "placement_group_capture_child_tasks": Option(*_BOOL),
    "enable_task_events": Option(*_BOOL, optional=False),
    "_labels": Option(*_DICT, _check_text_map),
}

_RETRY_EXCEPTIONS = Option(
    (bool, list, tuple), "True, False or a list of classes", _check_retry_exceptions, False
)

TASK_OPTIONS = {
    **_COMMON,
    "object_store_memory": Option(*_INT, _check_no_task_store_memory),
    "num_returns": Option((int, str), "a number or a string", _check_num_returns),
    "max_calls": Option(*_INT, _at_least(0), optional=False),
    "max_retries": Option(*_INT, _at_least(-1), optional=False),
    "retry_exceptions": _RETRY_EXCEPTIONS,
    "_generator_backpressure_num_objects": Option(*_INT, _check_backpressure),
    "_num_objects_per_yield": Option(*_INT, _check_positive, optional=False),
}

ACTOR_OPTIONS = {
    **_COMMON,
    "object_store_memory": Option(*_INT, _at_least(0)),
    "max_restarts": Option(*_INT, _at_least(-1), optional=False),
    "max_task_retries": Option(*_INT, _at_least(-1), optional=False),
    "max_concurrency": Option(*_INT, _at_least(0)),
    "concurrency_groups": Option(*_DICT, _check_groups),
    "max_pending_calls": Option(*_INT, _at_least(-1), optional=False),
    "lifetime": Option(*_STR, _check_one_of("detached", "non_detached")),
    "namespace": Option(*_STR, _check_not_empty),
    "get_if_exists": Option(*_BOOL, optional=False),
    "allow_out_of_order_execution": Option(*_BOOL),
    "enable_tensor_transport": Option(*_BOOL, _check_tensor_transport),
    "_actor_generator_backpressure_num_objects": Option(*_INT, _check_backpressure),
}

_METHOD_COMMON = {
    "num_returns": Option((int, str), "a number or a string", _check_num_returns),
    "concurrency_group": Option(*_STR),
    "max_task_retries": Option(*_INT, _at_least(-1)),
    "retry_exceptions": _RETRY_EXCEPTIONS._replace(optional=True),
    "enable_task_events": Option(*_BOOL),
    "_generator_backpressure_num_objects": Option(*_INT, _check_backpressure),
}

METHOD_DECORATOR_OPTIONS = _METHOD_COMMON
METHOD_CALL_OPTIONS = {
    **_METHOD_COMMON,
    "name": Option(*_STR),
    "_labels": Option(*_DICT, _check_text_map),
}

# Not in `.options()`, as they belong to the code and not to a call.
_TASK_DECORATOR_ONLY = ("max_calls", "_num_objects_per_yield")
_ACTOR_DECORATOR_ONLY = ("concurrency_groups",)


def _check(options: Mapping[str, Any], table: Mapping[str, Option], what: str) -> None:
    for name in options:
        if name not in table:
            allowed = ", ".join(one for one in sorted(table) if not one.startswith("_"))
            raise ValueError(f"{name!r} is no option of {what}. The options are: {allowed}")
    for name, value in options.items():
        option = table[name]
        if value is None and option.optional:
            continue
        number_like = option.types[0] is int and isinstance(value, bool) and len(option.types) < 3
        if not isinstance(value, option.types) or number_like:
            none = " or None" if option.optional else ""
            raise TypeError(
                f"The option {name} must be {option.types_text}{none}, "
                f"not {value!r} (of type {type(value).__qualname__})"
            )
    for name, value in options.items():
        check = table[name].check
        if check is not None and value is not None:
            check(f"The option {name}", value)


def check_task_options(options: Mapping[str, Any], *, generates: bool, in_call: bool) -> None:
    """Check the options of a remote function, of its decorator or of ``.options()``."""
    _check(options, TASK_OPTIONS, "a task")
    if in_call:
        for name in _TASK_DECORATOR_ONLY:
            if name in options:
                raise ValueError(f"{name} can be given to the decorator only, not to .options()")
    if isinstance(options.get("num_returns"), str) and not generates:
        raise ValueError(
            f"num_returns={options['num_returns']!r} is for generator functions, and this "
            "function has no yield"
        )
    _check_placement(options)


def check_actor_options(options: Mapping[str, Any], *, in_call: bool) -> None:
    """Check the options of an actor class, of its decorator or of ``.options()``."""
    _check(options, ACTOR_OPTIONS, "an actor")
    if in_call:
        for name in _ACTOR_DECORATOR_ONLY:
            if name in options:
                raise ValueError(f"{name} can be given to the decorator only, not to .options()")
    if options.get("get_if_exists") and options.get("name") is None:
        raise ValueError("get_if_exists=True needs a name to look for")
    _check_placement(options)


def check_method_options(options: Mapping[str, Any]) -> None:
    """Check the options of one call of a method."""
    _check(options, METHOD_CALL_OPTIONS, "an actor's method")


def _check_placement(options: Mapping[str, Any]) -> None:
    group = options.get("placement_group", "default")
    if group not in ("default", None) and options.get("scheduling_strategy") is not None:
        raise ValueError(
            "placement_group and scheduling_strategy exclude each other: use scheduling_strategy"
        )


# When a call is made -------------------------------------------------------------------


class Demand(NamedTuple):
    """The resources that a task or actor needs."""

    held: dict[str, float]  # while it runs
    placement: dict[str, float] | None  # free when it is placed; None: the same


def task_demand(options: Mapping[str, Any]) -> Demand:
    """Return what a task needs: one CPU unless it says otherwise."""
    num_cpus = options.get("num_cpus")
    return Demand(_amounts(options, 1 if num_cpus is None else num_cpus), None)


def actor_demand(options: Mapping[str, Any]) -> Demand:
    """Return what an actor needs: by default a CPU to be placed, and nothing afterwards."""
    num_cpus = options.get("num_cpus")
    says_something = any(
        options.get(name) is not None for name in ("num_gpus", "resources", "accelerator_type")
    )
    if num_cpus is None and not says_something:
        held = _amounts(options, 0)
        return Demand(held, {**held, "CPU": 1.0})
    return Demand(_amounts(options, 1 if num_cpus is None else num_cpus), None)


def _amounts(options: Mapping[str, Any], num_cpus: float) -> dict[str, float]:
    amounts = {"CPU": float(num_cpus), "GPU": float(options.get("num_gpus") or 0)}
    amounts["memory"] = float(int(options.get("memory") or 0))
    for name, amount in (options.get("resources") or {}).items():
        if name in ("memory", "object_store_memory", "bundle"):
            raise ValueError(
                f"resources must not contain {name!r}"
                + (": use the option memory" if name == "memory" else ", a reserved name")
            )
        amounts[name] = float(amount)
    if options.get("accelerator_type"):
        amounts[f"accelerator_type:{options['accelerator_type']}"] = 0.001
    for name in _WHOLE_ABOVE_ONE:
        amount = amounts.get(name, 0.0)
        if amount > 1 and not amount.is_integer():
            raise ValueError(
                f"more than one {name} must be a whole number of them, and is {amount!r}"
            )
    return {name: amount for name, amount in amounts.items() if amount > 0}


def default_max_retries() -> int:
    """Return how often a task is retried by default when its worker dies."""
    return int(setting("TASK_MAX_RETRIES", "3"))


def max_calls_of(options: Mapping[str, Any]) -> int:
    """Return after how many runs a worker leaves; by default once if it used a GPU."""
    if "max_calls" in options:
        return int(options["max_calls"])
    return 1 if options.get("num_gpus") else 0


def refuse_what_is_not_there(options: Mapping[str, Any], what: str) -> None:
    """Raise for options that rayc knows and cannot do yet, instead of ignoring them."""
    missing = []
    for name in ("label_selector", "fallback_strategy"):
        if options.get(name):
            missing.append(name)
    if missing:
        raise NotImplementedError(f"{what} uses {', '.join(missing)}, which rayc cannot do yet")


def check_namespace(namespace: Any) -> None:
    """Raise unless it can name a namespace."""
    if not isinstance(namespace, str):
        raise TypeError(f"namespace must be a string, not {namespace!r}")
    if not namespace:
        raise ValueError("namespace must not be the empty string")


def random_name() -> str:
    """Return a name that nobody else has."""
    return os.urandom(16).hex()
