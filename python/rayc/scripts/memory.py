"""`rayc memory`: which objects there are on this node, where they lie, and who holds them."""

from __future__ import annotations

import argparse
import os
import stat
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rayc._private.node_memory import NodeMemory, Row

DESCRIPTION = """\
Prints the objects of a running session: each once for every process that holds a reference to it,
then what the object store has in all. --check looks at the store's invariants instead, and exits
with 1 if one is broken. Where objects are made is recorded if RAYC_record_ref_creation_sites=1 is
in the environment of the program that starts the session."""

UNITS = {"B": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30}
NODE_IP = "127.0.0.1"


class Target(NamedTuple):
    """What to look at: a session, or a store without one."""

    name: str
    raylet_socket: str  # "": none
    plasma_socket: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = DESCRIPTION
    parser.add_argument(
        "--address",
        metavar="PATH",
        help="a session's folder, a socket in it, or the socket of a plasma_store; without it, "
        "RAYC_ADDRESS, else the newest session of this user",
    )
    parser.add_argument(
        "--check", action="store_true", help="check the store's invariants; exit with 1 if broken"
    )
    parser.add_argument(
        "--group-by",
        type=str.upper,
        choices=("NODE_ADDRESS", "STACK_TRACE"),
        default="NODE_ADDRESS",
    )
    parser.add_argument(
        "--sort-by",
        type=str.upper,
        choices=("PID", "OBJECT_SIZE", "REFERENCE_TYPE"),
        default="OBJECT_SIZE",
    )
    parser.add_argument("--units", type=str.upper, choices=tuple(UNITS), default="B")
    parser.add_argument("--stats-only", action="store_true", help="only sums, no objects")
    parser.add_argument(
        "--num-entries", type=_positive, metavar="N", help="only so many objects of each group"
    )


def run(options: argparse.Namespace) -> int:
    from rayc import exceptions
    from rayc._raylet import node_memory

    try:
        target = find_target(options.address)
        memory = node_memory(target.raylet_socket, target.plasma_socket, check=options.check)
    except (OSError, ValueError, NotImplementedError, exceptions.RayError) as error:
        print(f"rayc memory: {error}", file=sys.stderr)
        return 1
    if not options.check:
        show(f"======== Objects of {target.name} ========")
        show_objects(memory, options)
    show_totals(memory, Sizes(options.units))
    show_silent(memory)
    if not options.check:
        return 0
    if memory["problem"]:
        show(f"The store of {target.name} is NOT consistent: {memory['problem']}")
        return 1
    show(f"The store of {target.name} is consistent.")
    return 0


def find_target(address: str | None) -> Target:
    """Return what the address names; without one, the newest session.

    Raises
    ------
    ConnectionError
        If there is none.
    """
    from rayc._private.addresses import session_of
    from rayc._private.environment import setting
    from rayc._private.running_sessions import running_sessions, session_roots

    address = address or setting("ADDRESS")
    if address not in ("", "auto", "local"):
        path = os.path.abspath(address.removeprefix("unix:")) if os.sep in address else address
        if _is_lone_socket(path):
            return Target(f"the store {path}", "", path)
        folder = session_of(path)
        assert folder is not None  # only for "local"
        return _session(folder)
    sessions = running_sessions()
    if not sessions:
        raise ConnectionError(
            "no session of this user is running (looked in "
            f"{', '.join(session_roots())}); --address names one that is elsewhere"
        )
    if len(sessions) > 1:
        print(
            f"{len(sessions)} sessions are running; this is the newest. The others:",
            *(f"  --address {folder}" for folder in sessions[1:]),
            sep="\n",
            file=sys.stderr,
        )
    return _session(sessions[0])


def _session(folder: str) -> Target:
    sockets = os.path.join(folder, "sockets")
    return Target(
        f"the session {folder}", os.path.join(sockets, "raylet"), os.path.join(sockets, "plasma")
    )


def _is_lone_socket(path: str) -> bool:
    if os.path.basename(os.path.dirname(path)) == "sockets":
        return False
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False


class Sizes:
    """Writes sizes in one unit."""

    def __init__(self, unit: str) -> None:
        self._unit = unit

    def __call__(self, size: int) -> str:
        if self._unit == "B":
            return f"{size} B"
        return f"{size / UNITS[self._unit]:.3f} {self._unit}"


def show_objects(memory: NodeMemory, options: argparse.Namespace) -> None:
    from rayc._private.node_memory import rows_of

    by_site = options.group_by == "STACK_TRACE"
    groups: dict[str, list[Row]] = {}
    for row in rows_of(memory):
        groups.setdefault(row.call_site if by_site else NODE_IP, []).append(row)
    sizes = Sizes(options.units)
    largest_first = sorted(groups.items(), key=lambda group: -_distinct_bytes(group[1]))
    for name, rows in largest_first:
        title = "call site" if by_site else "node address"
        show(f"\n--- Summary for {title}: {name} ---")
        show_table(summary(rows, sizes))
        if options.stats_only:
            continue
        rows.sort(key=_ORDERS[options.sort_by])
        shown = rows[: options.num_entries]
        show(f"\n--- Object references for {title}: {name} ---")
        show_table(table(shown, sizes))
        if len(shown) < len(rows):
            show(f"... and {len(rows) - len(shown)} more")
    show("")


_ORDERS: dict[str, Callable[[Row], tuple[object, ...]]] = {
    "PID": lambda row: (row.pid, -row.size, row.object_id),
    "OBJECT_SIZE": lambda row: (-row.size, row.object_id, row.pid),
    "REFERENCE_TYPE": lambda row: (row.kinds, -row.size, row.object_id, row.pid),
}


def summary(rows: list[Row], sizes: Sizes) -> list[tuple[str, ...]]:
    """Return how many objects there are of each kind of reference, and their sizes."""
    lines: list[tuple[str, ...]] = [("REFERENCES", "OBJECTS", "SIZE")]
    lines.append(("any", str(_distinct(rows)), sizes(_distinct_bytes(rows))))
    for kind in sorted({kind for row in rows for kind in row.kinds}):
        of_kind = [row for row in rows if kind in row.kinds]
        lines.append((kind, str(_distinct(of_kind)), sizes(_distinct_bytes(of_kind))))
    return lines


def table(rows: list[Row], sizes: Sizes) -> list[tuple[str, ...]]:
    """Return the rows as text, with a header."""
    header = ("PID", "TYPE", "SIZE", "WHERE", "OWNER", "OBJECT ID", "REFERENCES", "CALL SITE")
    lines: list[tuple[str, ...]] = [header]
    for row in rows:
        lines.append(
            (
                str(row.pid or "-"),
                row.process,
                "-" if row.place == "-" else sizes(row.size),
                row.place,
                str(row.owner or "-"),
                row.object_id,
                ",".join(row.kinds),
                row.call_site,
            )
        )
    return lines


def show_totals(memory: NodeMemory, sizes: Sizes) -> None:
    """Print what the store has in all, and what the owners keep themselves."""
    spilled = sum(stored["is_spilled"] for stored in memory["objects"])
    show(
        f"Store: {len(memory['objects'])} objects ({spilled} spilled); "
        f"{sizes(memory['used_bytes'])} used, "
        f"{sizes(memory['granted_bytes'])} granted to processes and not used, "
        f"{sizes(memory['capacity_bytes'])} capacity, "
        f"{sizes(memory['spilled_bytes'])} spilled"
    )
    if memory["processes"]:
        own = [
            held["size"]
            for process in memory["processes"]
            for held in process["references"]
            if held["place"] == "process" and held["owner"] == process["worker_id"]
        ]
        show(f"Owners' memory: {len(own)} objects; {sizes(sum(own))}")


def show_silent(memory: NodeMemory) -> None:
    """Name the processes whose references are not, or not all, among the rows."""
    for process in memory["processes"]:
        name = "driver" if process["is_driver"] else "worker"
        if process["error"]:
            show(f"No answer from {name} {process['pid']}: {process['error']}")
        elif process["left_off"]:
            show(f"Not shown: {process['left_off']} references of {name} {process['pid']}")


def show_table(lines: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = (text.ljust(width) for text, width in zip(line, widths, strict=True))
        show("  ".join(padded).rstrip())


def show(line: str) -> None:
    """Print a line, whatever bytes a path in it has."""
    encoding = sys.stdout.encoding or "utf-8"
    print(line.encode(encoding, "backslashreplace").decode(encoding))


def _distinct(rows: Iterable[Row]) -> int:
    return len({row.object_id for row in rows})


def _distinct_bytes(rows: Iterable[Row]) -> int:
    return sum({row.object_id: row.size for row in rows}.values())


def _positive(text: str) -> int:
    number = int(text)
    if number <= 0:
        raise argparse.ArgumentTypeError("must be positive")
    return number
