"""What the objects of a node are: the answers of its processes and its store, put together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypedDict

LOCAL_REFERENCE = "LOCAL_REFERENCE"
USED_BY_PENDING_TASK = "USED_BY_PENDING_TASK"
CAPTURED_IN_OBJECT = "CAPTURED_IN_OBJECT"
BORROWED = "BORROWED"
BORROWED_BY_OTHERS = "BORROWED_BY_OTHERS"
ACTOR_HANDLE = "ACTOR_HANDLE"
PINNED_IN_MEMORY = "PINNED_IN_MEMORY"
UNKNOWN = "UNKNOWN"  # the store has it, and no process that answered knows of it

CALL_SITES_OFF = "disabled"


class HeldReference(TypedDict):
    """A reference, as the process that holds it sees it."""

    object_id: bytes
    owner: bytes
    place: str  # "process", "plasma", "pending"
    size: int
    local: int
    submitted: int
    contained: int
    borrowers: int
    is_actor_handle: bool
    call_site: str


class ProcessMemory(TypedDict):
    """What a driver or worker says of its references."""

    worker_id: bytes
    pid: int
    is_driver: bool
    error: str  # why it did not answer; then the rest is empty
    records_call_sites: bool
    left_off: int  # references that are not among these
    references: list[HeldReference]


class StoredObject(TypedDict):
    """An object that the store has, in its arena or on disk."""

    object_id: bytes
    owner: bytes  # b"" = nobody's
    size: int
    pins: int
    made_by_pid: int
    is_sealed: bool
    is_spilled: bool


class NodeMemory(TypedDict):
    """The answers of all processes of a node, and of its store."""

    processes: list[ProcessMemory]
    objects: list[StoredObject]
    used_bytes: int
    granted_bytes: int  # to processes, for objects to come
    capacity_bytes: int
    spilled_bytes: int
    problem: str  # of the store's invariants, if they were looked at


class Row(NamedTuple):
    """An object, and a process that holds it."""

    object_id: str
    pid: int  # 0: unknown
    process: str  # "Driver", "Worker", or "-"
    size: int
    place: str  # "arena", "spilled", "owner's memory", "pending", "gone", "unknown", or "-"
    owner: int  # pid; 0: nobody, or unknown
    kinds: tuple[str, ...]
    call_site: str


def rows_of(memory: NodeMemory) -> list[Row]:
    """Return a row for each object and process that holds it, and for what nobody holds."""
    return list(_Join(memory).rows())


class _Join:
    """Looks up in the other answers what one of them does not say."""

    def __init__(self, memory: NodeMemory) -> None:
        self._processes = memory["processes"]
        self._stored = {stored["object_id"]: stored for stored in memory["objects"]}
        self._pids = {process["worker_id"]: process["pid"] for process in self._processes}
        self._names = {process["pid"]: _name(process) for process in self._processes}
        self._records = {
            process["worker_id"]: process["records_call_sites"]
            for process in self._processes
            if not process["error"]
        }
        self._own = {
            held["object_id"]: held
            for process in self._processes
            for held in process["references"]
            if held["owner"] == process["worker_id"]
        }

    def rows(self) -> Iterator[Row]:
        seen = set()
        for process in self._processes:
            for held in process["references"]:
                seen.add(held["object_id"])
                yield self._held_row(process, held)
        for object_id, stored in self._stored.items():
            if object_id not in seen:
                yield self._stored_row(stored)

    def _held_row(self, process: ProcessMemory, held: HeldReference) -> Row:
        object_id = held["object_id"]
        owns = held["owner"] == process["worker_id"]
        stored = self._stored.get(object_id)
        kinds = []
        if held["is_actor_handle"]:
            kinds.append(ACTOR_HANDLE)
        elif held["local"]:
            kinds.append(LOCAL_REFERENCE)
        if held["submitted"]:
            kinds.append(USED_BY_PENDING_TASK)
        if held["contained"]:
            kinds.append(CAPTURED_IN_OBJECT)
        if not owns:
            kinds.append(BORROWED)
        if held["borrowers"]:
            kinds.append(BORROWED_BY_OTHERS)
        # Who pins is not known, so it is said once, of the owner if it answered.
        if stored and stored["pins"] and (owns or object_id not in self._own):
            kinds.append(PINNED_IN_MEMORY)
        best = self._own.get(object_id, held)  # a borrower may not know size and place yet
        return Row(
            object_id.hex(),
            process["pid"],
            _name(process),
            stored["size"] if stored else best["size"],
            self._place(held, stored),
            self._pids.get(held["owner"], 0),
            tuple(kinds),
            self._call_site(held),
        )

    def _stored_row(self, stored: StoredObject) -> Row:
        pid = stored["made_by_pid"]
        return Row(
            stored["object_id"].hex(),
            pid,
            self._names.get(pid, "-"),
            stored["size"],
            _stored_place(stored),
            self._pids.get(stored["owner"], 0),
            (PINNED_IN_MEMORY,) if stored["pins"] else (UNKNOWN,),
            "-",
        )

    def _place(self, held: HeldReference, stored: StoredObject | None) -> str:
        if held["is_actor_handle"]:
            return "-"
        if stored is not None:
            return _stored_place(stored)
        known = self._own.get(held["object_id"])
        place = (known or held)["place"]
        if place == "plasma":
            return "gone"  # between two answers, or for good
        if place == "process":
            return "owner's memory"
        return "pending" if known else "unknown"

    def _call_site(self, held: HeldReference) -> str:
        known = self._own.get(held["object_id"])
        if known is None:
            return "-"
        if not self._records.get(known["owner"], False):
            return CALL_SITES_OFF
        return known["call_site"] or "-"


def _name(process: ProcessMemory) -> str:
    return "Driver" if process["is_driver"] else "Worker"


def _stored_place(stored: StoredObject) -> str:
    if not stored["is_sealed"]:
        return "pending"
    return "spilled" if stored["is_spilled"] else "arena"
