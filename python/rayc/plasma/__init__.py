"""Objects in shared memory, without a cluster.

A store is a process of its own, ``plasma_store -m 2G -s SOCKET``. Every process of the
same user on the machine can connect to it, put objects, and read those of others in
place::

    from rayc import plasma

    client = plasma.connect("/tmp/plasma")
    object_id = client.put(numpy.arange(10**6))  # in one process
    array = client.get(object_id)  # in another one: no copy, read-only

Sealed objects never change, and stay when the client that made them goes. What comes
out of ``get`` and ``get_buffers`` holds its object in its place as long as any view of
it lives, also after ``delete`` and ``disconnect``.

Names and meanings are those of ``pyarrow.plasma``; docs/plasma.md says what differs.
"""

import pickle
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

from rayc.plasma._plasma import (
    Client,
    ObjectID,
    PlasmaBuffer,
    PlasmaConnectionError,
    PlasmaError,
    PlasmaObjectExists,
    PlasmaObjectNonexistent,
    PlasmaStoreFull,
)

if TYPE_CHECKING:
    import socket
    from contextlib import AbstractContextManager
    from subprocess import Popen

    from typing_extensions import Buffer

    from rayc.plasma._notifications import Notifications

__all__ = [
    "ObjectID",
    "ObjectNotAvailable",
    "PlasmaBuffer",
    "PlasmaClient",
    "PlasmaConnectionError",
    "PlasmaError",
    "PlasmaObjectExists",
    "PlasmaObjectNonexistent",
    "PlasmaObjectNotFound",
    "PlasmaStoreFull",
    "connect",
    "start_plasma_store",
]

PlasmaObjectNotFound = PlasmaObjectNonexistent

# What connect() does unless it is told otherwise: the time for a store to start.
_CONNECT_RETRIES = 50
_CONNECT_PAUSE_S = 0.1

_dumps = pickle.dumps
_loads = pickle.loads


class ObjectNotAvailable:
    """What ``get`` returns in place of an object that did not come in time."""

    def __repr__(self) -> str:
        return "ObjectNotAvailable"


def connect(store_socket_name: str, num_retries: int = -1) -> "PlasmaClient":
    """Connect to the store that listens on the socket.

    ``num_retries``: how often to try again, every 100 ms, if no store is there; -1: 50 times.
    """
    for _ in range(_CONNECT_RETRIES if num_retries < 0 else num_retries):
        try:
            return PlasmaClient(store_socket_name)
        except PlasmaConnectionError:
            import time

            time.sleep(_CONNECT_PAUSE_S)
    return PlasmaClient(store_socket_name)


def start_plasma_store(
    plasma_store_memory: int,
    *,
    spill_folders: Sequence[str] = (),
    evict_lru: bool = False,
) -> "AbstractContextManager[tuple[str, Popen[bytes]]]":
    """Run a store for the time of a ``with``; gives its socket and its process."""
    from rayc.plasma._program import running_store

    return running_store(plasma_store_memory, spill_folders, evict_lru)


class PlasmaClient(Client):
    """A connection to a plasma store. Any thread may use it; a forked child must connect anew."""

    _notifications: "Notifications | None" = None

    def __enter__(self) -> "PlasmaClient":
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.disconnect()

    def __repr__(self) -> str:
        return f"PlasmaClient({self.store_socket_name!r})"

    def disconnect(self) -> None:
        """End the connection.

        Buffers and arrays that came through it stay valid. What was created and not sealed is
        gone.
        """
        if self._notifications is not None:
            self._notifications.close()
            self._notifications = None
        super().disconnect()

    def put(
        self,
        value: Any,
        object_id: ObjectID | None = None,
        memcopy_threads: int = 6,
        serialization_context: None = None,
    ) -> ObjectID:
        """Store a Python value; the bytes of arrays are copied once, into the store.

        ``memcopy_threads`` is ignored: how many threads copy is decided by the size.
        """
        if serialization_context is not None:
            raise _no_serialization_context()
        buffers: list[pickle.PickleBuffer] = []
        pickled = _dumps(value, 5, buffer_callback=buffers.append)
        return self._put_pickled(pickled, buffers, object_id)

    def create_and_seal(
        self, object_id: ObjectID, data: "Buffer", metadata: bytes = b""
    ) -> ObjectID:
        """Store bytes as one object, in one call."""
        return self.put_raw_buffer(data, object_id, metadata)

    @overload
    def get(
        self, object_ids: ObjectID, timeout_ms: int = -1, serialization_context: None = None
    ) -> Any: ...
    @overload
    def get(
        self,
        object_ids: Sequence[ObjectID],
        timeout_ms: int = -1,
        serialization_context: None = None,
    ) -> list[Any]: ...
    def get(
        self,
        object_ids: ObjectID | Sequence[ObjectID],
        timeout_ms: int = -1,
        serialization_context: None = None,
    ) -> Any:
        """The values of objects made by ``put``, in the order of the ids.

        Waits for those that are not there yet, ``timeout_ms`` at most (-1: for ever); what did not
        come is ``ObjectNotAvailable``.
        """
        if serialization_context is not None:
            raise _no_serialization_context()
        if isinstance(object_ids, ObjectID):
            return _value_of(self._get_pickled((object_ids,), timeout_ms)[0])
        return [_value_of(parts) for parts in self._get_pickled(object_ids, timeout_ms)]

    def hash(self, object_id: ObjectID) -> bytes:
        """A digest of 8 bytes of what is in the object; empty if it is not there."""
        [(metadata, data)] = self.get_buffers([object_id], 0, True)
        if metadata is None or data is None:
            return b""
        from hashlib import blake2b

        digest = blake2b(data, digest_size=8)
        digest.update(metadata)
        return digest.digest()

    def debug_string(self) -> str:
        """What is in the store, in a line."""
        usage = ", ".join(f"{value} bytes {name}" for name, value in self.usage().items())
        return f"plasma store {self.store_socket_name}: {len(self.list())} objects, {usage}"

    def subscribe(self) -> None:
        """Be told from now on of objects that are sealed, and of those that go."""
        if self._notifications is None:
            from rayc.plasma._notifications import Notifications

            self._notifications = Notifications(self._subscribe())

    def get_next_notification(self) -> tuple[ObjectID, int, int]:
        """Wait for the next notification: the id, the data's size, the metadata's size.

        The sizes are -1 if the object is gone.
        """
        return self._subscribed().next()

    def get_notification_socket(self) -> "socket.socket":
        """A socket to read notifications from, for use with select or asyncio.

        Each comes as its length (8 bytes, native order) and a message for
        ``decode_notifications``. The socket is closed by ``disconnect``.
        """
        return self._subscribed().socket()

    def decode_notifications(self, buf: "Buffer") -> tuple[list[ObjectID], list[int], list[int]]:
        """The ids, data sizes and metadata sizes in a message from the notification socket."""
        from rayc.plasma._notifications import decode

        return decode(buf)

    def _subscribed(self) -> "Notifications":
        if self._notifications is None:
            raise PlasmaError("not subscribed to notifications: call subscribe() first")
        return self._notifications


def _value_of(parts: "tuple[memoryview, list[memoryview]] | None") -> Any:
    return ObjectNotAvailable if parts is None else _loads(parts[0], buffers=parts[1])


def _no_serialization_context() -> TypeError:
    return TypeError(
        "rayc.plasma pickles values and takes no serialization_context: "
        "use copyreg.pickle() or __reduce__ for types of your own"
    )
