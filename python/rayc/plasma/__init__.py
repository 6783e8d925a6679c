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

The names are those of ``pyarrow.plasma``; an ``ObjectID`` has 28 bytes here.
"""

import pickle
from collections.abc import Iterable, Sequence
from typing import Any, overload

from rayc.plasma._plasma import (
    Client as _Client,
)
from rayc.plasma._plasma import (
    ObjectID,
    PlasmaBuffer,
    PlasmaConnectionError,
    PlasmaError,
    PlasmaObjectExists,
    PlasmaObjectNonexistent,
    PlasmaStoreFull,
)

__all__ = [
    "ObjectID",
    "ObjectNotAvailable",
    "PlasmaBuffer",
    "PlasmaClient",
    "PlasmaConnectionError",
    "PlasmaError",
    "PlasmaObjectExists",
    "PlasmaObjectNonexistent",
    "PlasmaStoreFull",
    "connect",
]

_ALIGNMENT = 64
# The metadata of what put() has made. The object is: the number of parts as 8 bytes, little
# endian; for each part its offset and its size, 8 bytes each; the parts, each at a multiple of 64.
# The first part is the pickle, the others are its out-of-band buffers.
_PICKLED = b"rayc.plasma:pickle5"


class ObjectNotAvailable:
    """What ``get`` returns in place of an object that did not come in time."""

    def __repr__(self) -> str:
        return "ObjectNotAvailable"


def connect(store_socket_name: str, num_retries: int = 0) -> "PlasmaClient":
    """Connect to the store that listens on the socket.

    ``num_retries``: how often to try again, every 100 ms, if no store is there yet.
    """
    for _ in range(num_retries):
        try:
            return PlasmaClient(store_socket_name)
        except PlasmaConnectionError:
            import time

            time.sleep(0.1)
    return PlasmaClient(store_socket_name)


class PlasmaClient:
    """A connection to a plasma store. Any thread may use it; a forked child must connect anew."""

    def __init__(self, store_socket_name: str) -> None:
        self._client = _Client(store_socket_name)

    def __enter__(self) -> "PlasmaClient":
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.disconnect()

    def __repr__(self) -> str:
        return f"PlasmaClient({self.store_socket_name!r})"

    @property
    def store_socket_name(self) -> str:
        return self._client.store_socket_name

    def create(self, object_id: ObjectID, data_size: int, metadata: bytes = b"") -> PlasmaBuffer:
        """Room for an object: a buffer to write into, and then to ``seal``."""
        return self._client.create(object_id, data_size, metadata)

    def seal(self, object_id: ObjectID) -> None:
        """Make the object visible to all; nobody can change it from then on."""
        self._client.seal(object_id)

    def abort(self, object_id: ObjectID) -> None:
        """Take back an object that was created and not sealed."""
        self._client.abort(object_id)

    def put(self, value: Any, object_id: ObjectID | None = None) -> ObjectID:
        """Store a Python value; the bytes of arrays are copied once, into the store."""
        buffers: list[pickle.PickleBuffer] = []
        pickled = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
        parts = [memoryview(pickled), *(buffer.raw() for buffer in buffers)]
        end = 8 + 16 * len(parts)
        layout = []
        for part in parts:
            begin = -(-end // _ALIGNMENT) * _ALIGNMENT
            layout.append((begin, part.nbytes))
            end = begin + part.nbytes
        numbers = [len(parts), *(number for place in layout for number in place)]
        header = b"".join(number.to_bytes(8, "little") for number in numbers)
        pieces: list[tuple[int, Any]] = [(0, header)]
        pieces += [(begin, part) for (begin, _), part in zip(layout, parts, strict=True)]
        return self._store(end, pieces, object_id, _PICKLED)

    def put_raw_buffer(
        self, value: Any, object_id: ObjectID | None = None, metadata: bytes = b""
    ) -> ObjectID:
        """Store the bytes of anything that has the buffer protocol."""
        view = memoryview(value)
        return self._store(view.nbytes, [(0, view)], object_id, metadata)

    def _store(
        self,
        size: int,
        pieces: Iterable[tuple[int, Any]],
        object_id: ObjectID | None,
        metadata: bytes,
    ) -> ObjectID:
        object_id = ObjectID.from_random() if object_id is None else object_id
        buffer = self._client.create(object_id, size, metadata)
        try:
            for offset, piece in pieces:
                buffer.write(offset, piece)
        except BaseException:
            self._client.abort(object_id)
            raise
        self._client.seal(object_id)
        return object_id

    @overload
    def get(self, object_ids: ObjectID, timeout_ms: int = -1) -> Any: ...
    @overload
    def get(self, object_ids: Sequence[ObjectID], timeout_ms: int = -1) -> list[Any]: ...
    def get(self, object_ids: ObjectID | Sequence[ObjectID], timeout_ms: int = -1) -> Any:
        """The values of objects made by ``put``, in the order of the ids.

        Waits for those that are not there yet, ``timeout_ms`` at most (-1: for ever); what did not
        come is ``ObjectNotAvailable``.
        """
        ids = [object_ids] if isinstance(object_ids, ObjectID) else list(object_ids)
        values = [
            ObjectNotAvailable if found is None else _unpickle(object_id, *found)
            for object_id, found in zip(ids, self._client.get(ids, timeout_ms), strict=True)
        ]
        return values[0] if isinstance(object_ids, ObjectID) else values

    def get_buffers(
        self, object_ids: Sequence[ObjectID], timeout_ms: int = -1, with_meta: bool = False
    ) -> list[Any]:
        """The objects' bytes in place, ``None`` for what did not come in time.

        With ``with_meta``, pairs of metadata and buffer, ``(None, None)`` for what did not come.
        """
        found = self._client.get(list(object_ids), timeout_ms)
        if with_meta:
            return [(None, None) if entry is None else entry for entry in found]
        return [None if entry is None else entry[1] for entry in found]

    def get_metadata(
        self, object_ids: Sequence[ObjectID], timeout_ms: int = -1
    ) -> list[bytes | None]:
        """The objects' metadata, ``None`` for what did not come in time."""
        found = self._client.get(list(object_ids), timeout_ms)
        return [None if entry is None else entry[0] for entry in found]

    def contains(self, object_id: ObjectID) -> bool:
        """Whether the object is there, and sealed."""
        return self._client.contains(object_id)

    def delete(self, object_ids: Sequence[ObjectID]) -> None:
        """The objects go when nobody views them any more; unknown ids are ignored."""
        self._client.delete(list(object_ids))

    def list(self) -> dict[ObjectID, dict[str, Any]]:
        """What is in the store: by id, its data_size, metadata_size, ref_count, state and maker."""
        return self._client.list()

    def store_capacity(self) -> int:
        """The size of the store in bytes."""
        return self._client.store_capacity()

    def disconnect(self) -> None:
        """End the connection. Buffers and arrays that came through it stay valid."""
        self._client.disconnect()


def _unpickle(object_id: ObjectID, metadata: bytes, buffer: PlasmaBuffer) -> Any:
    if metadata != _PICKLED:
        raise ValueError(f"{object_id} was not made by put(): use get_buffers()")
    view = memoryview(buffer)
    count = int.from_bytes(view[:8], "little")
    numbers = view[8 : 8 + 16 * count].cast("Q")
    parts = [view[numbers[i] : numbers[i] + numbers[i + 1]] for i in range(0, 2 * count, 2)]
    return pickle.loads(parts[0], buffers=parts[1:])
