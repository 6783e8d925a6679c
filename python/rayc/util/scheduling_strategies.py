"""Objects for the option ``scheduling_strategy``: where tasks and actors are placed."""

from __future__ import annotations

from typing import Any

from rayc._raylet import NodeID
from rayc.util.placement_group import PlacementGroup

__all__ = [
    "DoesNotExist",
    "Exists",
    "In",
    "NodeAffinitySchedulingStrategy",
    "NodeLabelSchedulingStrategy",
    "NotIn",
    "PlacementGroupSchedulingStrategy",
]


class PlacementGroupSchedulingStrategy:
    """In a placement group.

    Parameters
    ----------
    placement_group : PlacementGroup
        Which one.
    placement_group_bundle_index : int
        In which bundle of it; -1 for any.
    placement_group_capture_child_tasks : bool, optional
        Whether its own tasks are placed there too.
    """

    def __init__(
        self,
        placement_group: PlacementGroup | None,
        placement_group_bundle_index: int = -1,
        placement_group_capture_child_tasks: bool | None = None,
    ) -> None:
        if placement_group is not None and not isinstance(placement_group, PlacementGroup):
            raise TypeError(f"placement_group must be a placement group, not {placement_group!r}")
        index = placement_group_bundle_index
        if isinstance(index, bool) or not isinstance(index, int):
            raise TypeError(f"placement_group_bundle_index must be an integer, not {index!r}")
        self.placement_group = placement_group
        self.placement_group_bundle_index = placement_group_bundle_index
        self.placement_group_capture_child_tasks = placement_group_capture_child_tasks


class NodeAffinitySchedulingStrategy:
    """On a given node.

    Parameters
    ----------
    node_id : str or NodeID
        Which one; in hexadecimal if a string.
    soft : bool
        Whether another one will do if it is gone or too small.
    """

    def __init__(
        self,
        node_id: str | NodeID,
        soft: bool,
        _spill_on_unavailable: bool = False,
        _fail_on_unavailable: bool = False,
    ) -> None:
        if _spill_on_unavailable and not soft:
            raise ValueError("_spill_on_unavailable needs soft=True")
        if _fail_on_unavailable and soft:
            raise ValueError("_fail_on_unavailable needs soft=False")
        if isinstance(node_id, str):
            try:
                node_id = NodeID.from_hex(node_id)
            except (TypeError, ValueError):
                raise ValueError(f"node_id {node_id!r} is not the id of a node") from None
        if not isinstance(node_id, NodeID) or node_id.is_nil():
            raise ValueError(f"node_id {node_id!r} is not the id of a node")
        self.node_id = node_id.hex()
        self.soft = soft
        self._spill_on_unavailable = _spill_on_unavailable
        self._fail_on_unavailable = _fail_on_unavailable


class _LabelCondition:
    """A condition on the value of a label."""

    def holds(self, value: str | None) -> bool:
        """Return whether it holds; None: the node does not have the label."""
        raise NotImplementedError

    def __repr__(self) -> str:
        values = ", ".join(repr(value) for value in getattr(self, "values", ()))
        return f"{type(self).__name__}({values})"


class In(_LabelCondition):
    """The label has one of the values."""

    def __init__(self, *values: str) -> None:
        _check_values(values)
        self.values = list(values)

    def holds(self, value: str | None) -> bool:
        """Return whether it holds."""
        return value in self.values


class NotIn(_LabelCondition):
    """The label has none of the values."""

    def __init__(self, *values: str) -> None:
        _check_values(values)
        self.values = list(values)

    def holds(self, value: str | None) -> bool:
        """Return whether it holds."""
        return value not in self.values


class Exists(_LabelCondition):
    """The node has the label."""

    def holds(self, value: str | None) -> bool:
        """Return whether it holds."""
        return value is not None


class DoesNotExist(_LabelCondition):
    """The node does not have the label."""

    def holds(self, value: str | None) -> bool:
        """Return whether it holds."""
        return value is None


def _check_values(values: tuple[Any, ...]) -> None:
    if not values or not all(isinstance(value, str) for value in values):
        raise ValueError(f"labels are compared with strings, not {values!r}")


class NodeLabelSchedulingStrategy:
    """On a node with given labels.

    Parameters
    ----------
    hard : dict
        Conditions by label, all of which must hold.
    soft : dict, optional
        Conditions that should hold.
    """

    def __init__(
        self, hard: dict[str, _LabelCondition], *, soft: dict[str, _LabelCondition] | None = None
    ) -> None:
        for name, conditions in (("hard", hard), ("soft", soft if soft is not None else {})):
            if not isinstance(conditions, dict):
                raise ValueError(f"{name} must be a dict, not {conditions!r}")
            for key, condition in conditions.items():
                if not isinstance(key, str) or not isinstance(condition, _LabelCondition):
                    raise ValueError(
                        f"{name} must map labels to In, NotIn, Exists or DoesNotExist, and has "
                        f"{key!r}: {condition!r}"
                    )
        if not hard and not soft:
            raise ValueError("hard and soft must not both be empty")
        self.hard = dict(hard)
        self.soft = dict(soft or {})
