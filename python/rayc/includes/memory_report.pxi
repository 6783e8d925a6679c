# For `rayc memory`: where references are made, and what is known of all of a node's.

cdef bint records_call_sites = False  # of the session


cdef inline ObjectRef with_call_site(CCoreWorker* core, ObjectRef ref):
    """Note where the program makes this reference, if that is wanted."""
    if records_call_sites:
        core.SetCallSite(IdFrom[CObjectId](ref._bytes), call_site())
    return ref


cdef inline list with_call_sites(CCoreWorker* core, list refs):
    cdef string site
    if records_call_sites and refs:
        site = call_site()
        for ref in refs:
            core.SetCallSite(IdFrom[CObjectId]((<ObjectRef>ref)._bytes), site)
    return refs


cdef string call_site():
    """The first frame outside of rayc: file:line in function."""
    frame = sys._getframe()
    while frame is not None:
        module = str(frame.f_globals.get("__name__"))
        if module != "rayc" and not module.startswith("rayc."):
            code = frame.f_code
            name = getattr(code, "co_qualname", code.co_name)
            return to_string(f"{code.co_filename}:{frame.f_lineno} in {name}")
        frame = frame.f_back
    return to_string("rayc itself")


def node_memory(
    str raylet_socket not None,
    str plasma_socket not None,
    *,
    bint check=False,
    int64_t timeout_ms=2000,
):
    """Ask all processes of a node, and its store, for their objects; see _raylet.pyi."""
    cdef CNodeMemoryOptions options
    cdef CNodeMemory memory
    cdef CStatus status
    cdef size_t i
    options.raylet_socket = to_string(raylet_socket)
    options.plasma_socket = to_string(plasma_socket)
    options.check = check
    options.timeout_ms = timeout_ms
    with nogil:
        status = AskNodeMemory(options, &memory)
    check_status(status)
    return {
        "processes": [process_dict(memory.processes[i]) for i in range(memory.processes.size())],
        "objects": [stored_dict(memory.store.objects[i]) for i in range(memory.store.objects.size())],
        "used_bytes": memory.store.used_bytes,
        "granted_bytes": memory.store.granted_bytes,
        "capacity_bytes": memory.store.capacity_bytes,
        "spilled_bytes": memory.store.spilled_bytes,
        "problem": to_str(memory.store.problem),
    }


cdef dict process_dict(const CProcessMemory& process):
    cdef size_t i
    return {
        "worker_id": id_bytes(process.worker_id.data()),
        "pid": process.pid,
        "is_driver": process.is_driver,
        "error": "" if process.status.ok() else to_str(process.status.message()),
        "records_call_sites": process.records_call_sites,
        "left_off": process.left_off,
        "references": [held_dict(process.references[i]) for i in range(process.references.size())],
    }


cdef dict held_dict(const CHeldReference& held):
    return {
        "object_id": id_bytes(held.id.data()),
        "owner": id_bytes(held.owner.data()),
        "place": place_name(held.place),
        "size": held.size,
        "local": held.local,
        "submitted": held.submitted,
        "contained": held.contained,
        "borrowers": held.borrowers,
        "is_actor_handle": held.id.IsActorHandle(),
        "call_site": to_str(held.call_site),
    }


cdef str place_name(CHeldPlace place):
    if place == CHeldPlace.kProcess:
        return "process"
    return "plasma" if place == CHeldPlace.kPlasma else "pending"


cdef dict stored_dict(const CObjectInfo& info):
    return {
        "object_id": id_bytes(info.id.data()),
        "owner": b"" if info.owner.IsNil() else id_bytes(info.owner.data()),
        "size": info.data_bytes,
        "pins": info.pins,
        "made_by_pid": info.made_by_pid,
        "is_sealed": info.sealed,
        "is_spilled": info.place == CObjectPlace.kSpilled,
    }


cdef bytes id_bytes(const unsigned char* data):
    """The 28 bytes of an ObjectID or WorkerID."""
    return PyBytes_FromStringAndSize(<const char*>data, 28)
