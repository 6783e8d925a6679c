# Placement groups: where tasks and actors go, and the groups themselves.

@cython.final
cdef class SchedulingStrategy:
    """Where a task or actor is to run, beyond what its resources say. The default if made bare."""

    def __init__(
        self,
        *,
        PlacementGroupID placement_group=None,
        int bundle_index=-1,
        bint captures_children=False,
        str node_text="",
        NodeID node_id=None,
        bint node_is_soft=False,
        bint fails_if_busy=False,
    ):
        if placement_group is not None:
            self._strategy.group = IdFrom[CPlacementGroupId](placement_group._bytes)
        self._strategy.bundle_index = bundle_index
        self._strategy.captures_children = captures_children
        self._strategy.node_text = to_string(node_text)
        if node_id is not None:
            self._strategy.node = IdFrom[CNodeId](node_id._bytes)
        self._strategy.node_is_soft = node_is_soft
        self._strategy.fails_if_busy = fails_if_busy


cdef PlacementGroupID placement_group_id_of(const CPlacementGroupId& group):
    return fill_id(PlacementGroupID.__new__(PlacementGroupID), group.data(), 18)


def create_placement_group(
    CoreWorker worker not None,
    list bundles not None,
    *,
    int strategy,
    str name="",
    str namespace="",
    bint is_detached=False,
    NodeID soft_target=None,
):
    """Ask for a placement group; returns its id at once, unless it has a name."""
    cdef CCoreWorker* core = worker.core()
    cdef CPlacementGroupSpec spec
    cdef CPlacementGroupId group
    cdef CStatus status
    spec.name = to_string(name)
    spec.name_space = to_string(namespace)
    spec.strategy = strategy
    spec.is_detached = is_detached
    for bundle in bundles:
        spec.bundles.push_back(resource_set(bundle))
    if soft_target is not None:
        spec.soft_target = IdFrom[CNodeId](soft_target._bytes)
    with nogil:
        status = core.CreatePlacementGroup(spec, &group)
    check_status(status)
    return placement_group_id_of(group)


def wait_placement_group(CoreWorker worker not None, PlacementGroupID group not None,
                         int64_t timeout_ms):
    """Wait until it is created; False if the time is over, or it never will be."""
    cdef CCoreWorker* core = worker.core()
    cdef CPlacementGroupId c_group = IdFrom[CPlacementGroupId](group._bytes)
    cdef c_bool created = False
    cdef CStatus status
    with nogil:
        status = core.WaitPlacementGroup(c_group, timeout_ms, &created)
    check_status(status)
    return created


def placement_group_ready(CoreWorker worker not None, PlacementGroupID group not None, value):
    """Return a reference that becomes `value` once the group is created."""
    cdef CCoreWorker* core = worker.core()
    cdef CPlacementGroupId c_group = IdFrom[CPlacementGroupId](group._bytes)
    cdef SerializedValue serialized = serialize(value)
    cdef CObjectValue stored = to_heap(serialized)
    cdef CObjectId ref
    cdef CStatus status
    with nogil:
        status = core.PlacementGroupReady(c_group, stored, &ref)
    check_status(status)
    return new_ref(ref)


def remove_placement_group(CoreWorker worker not None, PlacementGroupID group not None):
    """Ask for its end; returns at once."""
    worker.core().RemovePlacementGroup(IdFrom[CPlacementGroupId](group._bytes))


def find_placement_group(CoreWorker worker not None, PlacementGroupID group, str name="",
                         str namespace=""):
    """Return what is known of a group, by id or else by name; None if there is none."""
    cdef CCoreWorker* core = worker.core()
    cdef CPlacementGroupId c_group
    cdef string c_name = to_string(name)
    cdef string c_namespace = to_string(namespace)
    cdef vector[CPlacementGroupRecord] found
    cdef CStatus status
    if group is not None:
        c_group = IdFrom[CPlacementGroupId](group._bytes)
    with nogil:
        status = core.GetPlacementGroup(c_group, c_name, c_namespace, &found)
    check_status(status)
    return placement_group_dict(found[0]) if found.size() == 1 else None


def list_placement_groups(CoreWorker worker not None):
    """Return what is known of all groups, some of the removed ones included."""
    cdef CCoreWorker* core = worker.core()
    cdef vector[CPlacementGroupRecord] found
    cdef CStatus status
    cdef size_t i
    with nogil:
        status = core.ListPlacementGroups(&found)
    check_status(status)
    return [placement_group_dict(found[i]) for i in range(found.size())]


def current_placement_group(CoreWorker worker not None):
    """Return (id or None, whether it captures children) of the calling task or actor."""
    cdef CSchedulingStrategy strategy = worker.core().CurrentStrategy()
    if not strategy.InGroup():
        return None, False
    return placement_group_id_of(strategy.group), strategy.captures_children


cdef dict placement_group_dict(const CPlacementGroupRecord& group):
    cdef size_t i
    nodes = []
    for i in range(group.nodes.size()):
        nodes.append(None if group.nodes[i].IsNil() else node_id_of(group.nodes[i]))
    return {
        "id": placement_group_id_of(group.id),
        "name": to_str(group.name),
        "namespace": to_str(group.name_space),
        "strategy": group.strategy,
        "bundles": [resources_dict(group.bundles[i]) for i in range(group.bundles.size())],
        "nodes": nodes,
        "state": group.state,
        "failure": to_str(group.failure),
        "created_after_us": group.created_after_us,
        "attempts": group.attempts,
    }
