"""Makes of the options of a call where its task or actor is to run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rayc._private.options import Demand
from rayc._private.worker import global_worker
from rayc._raylet import NodeID, SchedulingStrategy

NODE_ID_LABEL = "ray.io/node-id"


def strategy_of(options: Mapping[str, Any], demand: Demand, what: str) -> SchedulingStrategy | None:
    """Return where to run; None to leave it to the caller's own placement group, if it has one.

    Parameters
    ----------
    options : mapping
        Checked ones, of a task or actor.
    demand : Demand
        What it needs, which must fit in a bundle.
    what : str
        What is called, for messages.

    Raises
    ------
    ValueError
        If the strategy is not possible as it is.
    """
    strategy = options.get("scheduling_strategy")
    group = options.get("placement_group", "default")
    if strategy is None and isinstance(group, str) and group == "default":
        return None
    from rayc.util import scheduling_strategies as strategies
    from rayc.util.placement_group import PlacementGroup

    if strategy is None:
        if isinstance(group, PlacementGroup):
            strategy = strategies.PlacementGroupSchedulingStrategy(
                group,
                options.get("placement_group_bundle_index", -1),
                options.get("placement_group_capture_child_tasks"),
            )
        elif group is None:
            return SchedulingStrategy()
        else:
            raise ValueError(f"placement_group must be a placement group, and is {group!r}")
    if isinstance(strategy, str):
        if strategy not in ("DEFAULT", "SPREAD"):
            raise ValueError(
                "scheduling_strategy must be 'DEFAULT', 'SPREAD' or a strategy object, "
                f"and is {strategy!r}"
            )
        return SchedulingStrategy()
    if isinstance(strategy, strategies.PlacementGroupSchedulingStrategy):
        return _in_group(strategy, demand, what)
    if isinstance(strategy, strategies.NodeAffinitySchedulingStrategy):
        return SchedulingStrategy(
            node_text=f"with the id {strategy.node_id}",
            node_id=NodeID.from_hex(strategy.node_id),
            node_is_soft=strategy.soft,
            fails_if_busy=strategy._fail_on_unavailable,
        )
    if isinstance(strategy, strategies.NodeLabelSchedulingStrategy):
        return _by_labels(strategy)
    raise ValueError(
        "scheduling_strategy must be 'DEFAULT', 'SPREAD' or a strategy object of "
        f"rayc.util.scheduling_strategies, and is {strategy!r}"
    )


def _in_group(strategy: Any, demand: Demand, what: str) -> SchedulingStrategy:
    group = strategy.placement_group
    index = strategy.placement_group_bundle_index
    if group is None or group.is_empty:
        return SchedulingStrategy()
    bundles = group.bundle_specs
    if not -1 <= index < len(bundles):
        raise ValueError(
            f"placement_group_bundle_index must be -1 (any) or from 0 to {len(bundles) - 1}, "
            f"as the group has {len(bundles)} bundles, and is {index}"
        )
    needed = dict(demand.held)
    for name, amount in (demand.placement or {}).items():
        needed[name] = max(needed.get(name, 0.0), amount)
    candidates = bundles if index < 0 else [bundles[index]]
    if not any(_fits(needed, bundle) for bundle in candidates):
        where = "any bundle" if index < 0 else f"bundle {index}"
        raise ValueError(
            f"{what} needs {needed}, which does not fit in {where} of its placement group, "
            f"whose bundles are {bundles}"
        )
    return SchedulingStrategy(
        placement_group=group.id,
        bundle_index=index,
        captures_children=bool(strategy.placement_group_capture_child_tasks),
    )


def _fits(needed: Mapping[str, float], bundle: Mapping[str, float]) -> bool:
    return all(bundle.get(name, 0.0) >= amount for name, amount in needed.items())


def _by_labels(strategy: Any) -> SchedulingStrategy:
    """Choose the node here: labels of nodes do not change."""
    living = [node["node_id"] for node in global_worker.connected().get_nodes() if node["is_alive"]]
    labels = [(node, {NODE_ID_LABEL: node.hex()}) for node in living]
    suitable = [(node, known) for node, known in labels if _meets(known, strategy.hard)]
    if not suitable:
        return SchedulingStrategy(
            node_text=f"whose labels meet {_describe(strategy.hard)}", node_is_soft=False
        )
    best = max(suitable, key=lambda one: _meets(one[1], strategy.soft))[0]
    return SchedulingStrategy(
        node_text=f"with the id {best.hex()}", node_id=best, node_is_soft=not strategy.hard
    )


def _meets(labels: Mapping[str, str], conditions: Mapping[str, Any]) -> bool:
    return all(condition.holds(labels.get(key)) for key, condition in conditions.items())


def _describe(conditions: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}: {condition!r}" for key, condition in conditions.items())
