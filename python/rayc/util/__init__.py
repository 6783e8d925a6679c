"""Utilities on top of the core: actor pools, iteration over results, and others."""

from __future__ import annotations

from typing import Any

from rayc.util.actor_pool import ActorPool
from rayc.util.iteration import as_completed, map_unordered
from rayc.util.placement_group import (
    get_current_placement_group,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from rayc.util.serialization import (
    deregister_serializer,
    inspect_serializability,
    register_serializer,
)

__all__ = [
    "ActorPool",
    "as_completed",
    "deregister_serializer",
    "get_current_placement_group",
    "get_node_ip_address",
    "get_placement_group",
    "inspect_serializability",
    "list_named_actors",
    "map_unordered",
    "placement_group",
    "placement_group_table",
    "register_serializer",
    "remove_placement_group",
]


def list_named_actors(all_namespaces: bool = False) -> list[str] | list[dict[str, Any]]:
    """Return the names of the living actors that have one.

    Parameters
    ----------
    all_namespaces : bool
        Of all namespaces, as dicts with ``name`` and ``namespace``; otherwise the names in
        that of this job.
    """
    from rayc._private.worker import global_worker

    core = global_worker.connected()
    found = core.list_named_actors(all_namespaces, global_worker.namespace)
    if all_namespaces:
        return [{"name": name, "namespace": namespace} for namespace, name in found]
    return [name for _, name in found]


def get_node_ip_address() -> str:
    """Return the address of this node."""
    from rayc._private.worker import global_worker, nodes

    if global_worker.core_worker is None:
        return "127.0.0.1"
    here = global_worker.core_worker.node_id.hex()
    return next(
        (str(node["NodeManagerAddress"]) for node in nodes() if node["NodeID"] == here),
        "127.0.0.1",
    )
