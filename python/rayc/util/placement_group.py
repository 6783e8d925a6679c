"""Placement groups: resources that are reserved together, in bundles, for tasks and actors.

Examples
--------
>>> group = placement_group([{"CPU": 1}, {"CPU": 1}], strategy="PACK")
>>> rayc.get(group.ready())
>>> strategy = PlacementGroupSchedulingStrategy(placement_group=group)
>>> work.options(scheduling_strategy=strategy).remote()
>>> remove_placement_group(group)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rayc import _raylet
from rayc._private.options import SMALLEST_AMOUNT
from rayc._private.worker import global_worker
from rayc._raylet import NodeID, ObjectRef, PlacementGroupID

__all__ = [
    "PlacementGroup",
    "get_current_placement_group",
    "get_placement_group",
    "placement_group",
    "placement_group_table",
    "remove_placement_group",
]

STRATEGIES = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")  # by their numbers
_STATES = ("PENDING", "PREPARED", "CREATED", "RESCHEDULING", "REMOVED")
_UNPLACED = "INFEASIBLE"
_LONGEST_WAIT_S = 10**9


class PlacementGroup:
    """A handle on a placement group. Get one from `placement_group` or `get_placement_group`."""

    @staticmethod
    def empty() -> PlacementGroup:
        """Return a handle on no group."""
        return PlacementGroup(PlacementGroupID.nil(), [])

    def __init__(
        self, id: PlacementGroupID, bundle_cache: list[dict[str, float]] | None = None
    ) -> None:
        self.id = id
        self.bundle_cache = bundle_cache

    @property
    def is_empty(self) -> bool:
        """Whether this is a handle on no group."""
        return self.id.is_nil()

    @property
    def bundle_specs(self) -> list[dict[str, float]]:
        """The resources of each bundle."""
        if self.bundle_cache is None:
            found = _raylet.find_placement_group(global_worker.connected(), self.id)
            if found is None:
                raise ValueError(f"There is no placement group {self.id.hex()} (any more)")
            self.bundle_cache = found["bundles"]
        return [dict(bundle) for bundle in self.bundle_cache]

    @property
    def bundle_count(self) -> int:
        """The number of bundles."""
        return len(self.bundle_specs)

    def ready(self) -> ObjectRef[PlacementGroup]:
        """Return a reference that resolves to this group once all is reserved.

        Getting it raises TaskUnschedulableError if the cluster can never hold the group, and
        TaskPlacementGroupRemoved if it is removed.
        """
        return _raylet.placement_group_ready(global_worker.connected(), self.id, self)

    def wait(self, timeout_seconds: float = 30) -> bool:
        """Wait until all is reserved.

        Parameters
        ----------
        timeout_seconds : float
            How long; -1 for ever.

        Returns
        -------
        bool
            False if the time is over; also, without waiting, if the cluster can never hold the
            group, or if it is removed.
        """
        if isinstance(timeout_seconds, bool) or not isinstance(timeout_seconds, (int, float)):
            raise TypeError(f"timeout_seconds must be a number, not {timeout_seconds!r}")
        if math.isnan(timeout_seconds) or (timeout_seconds < 0 and timeout_seconds != -1):
            raise ValueError(
                f"timeout_seconds must be at least 0, or -1 for ever, and is {timeout_seconds!r}"
            )
        forever = timeout_seconds == -1 or timeout_seconds > _LONGEST_WAIT_S
        timeout_ms = -1 if forever else math.ceil(timeout_seconds * 1000)
        return _raylet.wait_placement_group(global_worker.connected(), self.id, timeout_ms)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PlacementGroup) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"PlacementGroup({self.id.hex()})"

    def __reduce__(self) -> tuple[Any, ...]:
        return PlacementGroup, (self.id, self.bundle_cache)


def placement_group(
    bundles: list[dict[str, float]],
    strategy: str | None = None,
    name: str = "",
    lifetime: str | None = None,
    _soft_target_node_id: str | None = None,
    bundle_label_selector: list[dict[str, str]] | None = None,
    topology_strategy: Any = None,
) -> PlacementGroup:
    """Ask for resources that are reserved together: all bundles, or none. Returns at once.

    Parameters
    ----------
    bundles : list of dict
        The resources of each bundle; a bundle lies on one node.
    strategy : str, optional
        ``"PACK"`` (the default): on few nodes; ``"SPREAD"``: on many; ``"STRICT_PACK"``: on one,
        or not at all; ``"STRICT_SPREAD"``: each on its own, or not at all.
    name : str
        By which others find it, in this namespace. With a name, the call waits until the name
        is known to be free.
    lifetime : str, optional
        ``"detached"``: the group outlives this job.
    _soft_target_node_id : str, optional
        The node to be on if it has room; for STRICT_PACK.
    bundle_label_selector : list of dict, optional
        Labels of the node of each bundle; not supported yet.
    topology_strategy : optional
        Not supported.

    Raises
    ------
    ValueError
        If an argument is not as described here, or the name is taken.
    """
    checked = _check_bundles(bundles)
    if strategy is not None and topology_strategy is not None:
        raise ValueError("strategy and topology_strategy exclude each other")
    if topology_strategy is not None:
        raise NotImplementedError("rayc has no topology_strategy: use strategy")
    if strategy is None:
        strategy = "PACK"
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}, and is {strategy!r}")
    if not isinstance(name, str):
        raise ValueError(f"name must be a string, and is {name!r}")
    if lifetime not in (None, "detached"):
        raise ValueError(f"lifetime must be None or 'detached', and is {lifetime!r}")
    soft_target = _check_soft_target(_soft_target_node_id, strategy)
    if bundle_label_selector is not None:
        if len(bundle_label_selector) != len(checked):
            raise ValueError(
                f"bundle_label_selector must have an entry for each of the {len(checked)} "
                f"bundles, and has {len(bundle_label_selector)}"
            )
        if any(bundle_label_selector):
            raise NotImplementedError("rayc cannot place bundles by labels yet")
    core = global_worker.connected()
    group_id = _raylet.create_placement_group(
        core,
        checked,
        strategy=STRATEGIES.index(strategy),
        name=name,
        namespace=global_worker.namespace,
        is_detached=lifetime == "detached",
        soft_target=soft_target,
    )
    return PlacementGroup(group_id, checked)


def _check_bundles(bundles: Any) -> list[dict[str, float]]:
    if not isinstance(bundles, list):
        raise ValueError(f"bundles must be a list of dicts, not {bundles!r}")
    if not bundles:
        raise ValueError("bundles must not be empty: a placement group has at least one bundle")
    return [_check_bundle(index, bundle) for index, bundle in enumerate(bundles)]


def _check_bundle(index: int, bundle: Any) -> dict[str, float]:
    what = f"bundle {index}"
    if not isinstance(bundle, Mapping):
        raise ValueError(f"{what} must be a dict from resources to amounts, not {bundle!r}")
    for name, amount in bundle.items():
        if not isinstance(name, str) or not name:
            raise ValueError(f"the keys of {what} must be names of resources, and one is {name!r}")
        if isinstance(amount, bool) or not isinstance(amount, (int, float)):
            raise ValueError(f"{what}: {name!r} must be a number, and is {amount!r}")
        if not math.isfinite(amount) or amount < 0 or 0 < amount < SMALLEST_AMOUNT:
            raise ValueError(
                f"{what}: {name!r} must be 0 or at least {SMALLEST_AMOUNT}, and is {amount!r}"
            )
        if name == "bundle" or "_group_" in name:
            raise ValueError(f"{what}: {name!r} is a reserved name")
    checked = {name: float(amount) for name, amount in bundle.items() if amount > 0}
    if not checked:
        raise ValueError(f"{what} must ask for something, and is {dict(bundle)!r}")
    return checked


def _check_soft_target(node_id: Any, strategy: str) -> NodeID | None:
    if node_id is None:
        return None
    if strategy != "STRICT_PACK":
        raise ValueError("_soft_target_node_id is for the strategy STRICT_PACK only")
    try:
        node = NodeID.from_hex(node_id)
    except (TypeError, ValueError):
        raise ValueError(f"_soft_target_node_id {node_id!r} is not the id of a node") from None
    return node


def remove_placement_group(placement_group: PlacementGroup) -> None:
    """Give back what a group has reserved. Returns at once.

    What runs in it is ended: its tasks fail with TaskPlacementGroupRemoved, its actors with
    ActorPlacementGroupRemoved; neither is tried again. Removing it twice does nothing.
    """
    if not isinstance(placement_group, PlacementGroup):
        raise TypeError(f"{placement_group!r} is no placement group")
    _raylet.remove_placement_group(global_worker.connected(), placement_group.id)


def get_placement_group(placement_group_name: str) -> PlacementGroup:
    """Return the group of this name, in the namespace of this job.

    Raises
    ------
    ValueError
        If there is none.
    """
    if not isinstance(placement_group_name, str) or not placement_group_name:
        raise ValueError(f"A name must be a string that is not empty, not {placement_group_name!r}")
    core = global_worker.connected()
    namespace = global_worker.namespace
    found = _raylet.find_placement_group(core, None, placement_group_name, namespace)
    if found is None:
        raise ValueError(
            f"There is no placement group named {placement_group_name!r} in the namespace "
            f"{namespace!r}"
        )
    return PlacementGroup(found["id"], found["bundles"])


def get_current_placement_group() -> PlacementGroup | None:
    """Return the group that this task or actor runs in; None outside, and on a driver."""
    group_id, _ = _raylet.current_placement_group(global_worker.connected())
    return None if group_id is None else PlacementGroup(group_id)


def placement_group_table(placement_group: PlacementGroup | None = None) -> dict[str, Any]:
    """Return what is known of a group, or of all groups by the hexadecimal form of their ids.

    Parameters
    ----------
    placement_group : PlacementGroup, optional
        Which one.

    Returns
    -------
    dict
        With ``placement_group_id``, ``name``, ``bundles`` and ``bundles_to_node_id`` (by index),
        ``strategy``, ``state`` and ``stats``; empty if the group is not known (any more).
    """
    core = global_worker.connected()
    if placement_group is None:
        return {group["id"].hex(): _row(group) for group in _raylet.list_placement_groups(core)}
    found = _raylet.find_placement_group(core, placement_group.id)
    return {} if found is None else _row(found)


def _row(group: dict[str, Any]) -> dict[str, Any]:
    state = _STATES[group["state"]]
    if state in ("PENDING", "RESCHEDULING"):
        scheduling = _UNPLACED if group["failure"] else "QUEUED"
    else:
        scheduling = "REMOVED" if state == "REMOVED" else "FINISHED"
    return {
        "placement_group_id": group["id"].hex(),
        "name": group["name"],
        "bundles": dict(enumerate(group["bundles"])),
        "bundles_to_node_id": {
            index: "" if node is None else node.hex() for index, node in enumerate(group["nodes"])
        },
        "strategy": STRATEGIES[group["strategy"]],
        "state": state,
        "stats": {
            "end_to_end_creation_latency_ms": group["created_after_us"] / 1000,
            "scheduling_attempt": group["attempts"],
            "highest_retry_delay_ms": 0.0,
            "scheduling_state": scheduling,
            "failure": group["failure"],
        },
    }
