"""The notifications of a store, one by one or through a socket."""

import selectors
import socket
import struct
import threading
from typing import TYPE_CHECKING

from rayc.plasma._plasma import ObjectID, PlasmaConnectionError, Subscription

if TYPE_CHECKING:
    from typing_extensions import Buffer

# In a message: the id, the data's size, the metadata's size. In front of it, its length.
_ENTRY = struct.Struct(f"={ObjectID.size()}sqq")
_LENGTH = struct.Struct("=Q")

_Notification = tuple[ObjectID, int, int]


def encode(notification: _Notification) -> bytes:
    object_id, data_size, metadata_size = notification
    return _LENGTH.pack(_ENTRY.size) + _ENTRY.pack(object_id.binary(), data_size, metadata_size)


def decode(message: "Buffer") -> tuple[list[ObjectID], list[int], list[int]]:
    with memoryview(message) as view:
        if view.nbytes == 0 or view.nbytes % _ENTRY.size != 0:
            raise ValueError(f"not a message from the notification socket: {view.nbytes} bytes")
        entries = list(_ENTRY.iter_unpack(view))
    return (
        [ObjectID(binary) for binary, _, _ in entries],
        [data_size for _, data_size, _ in entries],
        [metadata_size for _, _, metadata_size in entries],
    )


class Notifications:
    """A subscription. Once the socket was asked for, everything goes through it."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription
        self._lock = threading.Lock()  # one reader at a time
        self._reader: socket.socket | None = None
        self._writer: socket.socket | None = None
        self._stop: socket.socket | None = None  # the thread ends when it is closed
        self._thread: threading.Thread | None = None

    def next(self) -> _Notification:
        with self._lock:
            if self._reader is None:
                found = self._subscription.next(-1)
                assert found is not None
                return found
            (length,) = _LENGTH.unpack(self._receive(_LENGTH.size))
            ids, data_sizes, metadata_sizes = decode(self._receive(length))
            return ids[0], data_sizes[0], metadata_sizes[0]

    def socket(self) -> socket.socket:
        with self._lock:
            if self._reader is None:
                self._reader, self._writer = socket.socketpair()
                self._stop, stopped = socket.socketpair()
                self._thread = threading.Thread(
                    target=_forward,
                    args=(self._subscription, self._writer, stopped),
                    name="rayc.plasma.notifications",
                    daemon=True,
                )
                self._thread.start()
            return self._reader

    def close(self) -> None:
        self._end_streams()
        if self._thread is not None:
            self._thread.join()

    def __del__(self) -> None:
        self._end_streams()  # without waiting: at the interpreter's end the thread does not run

    def _end_streams(self) -> None:
        self._subscription.close()
        for end in (self._writer, self._reader):
            if end is not None:
                try:
                    end.shutdown(socket.SHUT_RDWR)  # ends a send or a recv of another thread
                except OSError:
                    pass
        for end in (self._stop, self._reader):
            if end is not None:
                end.close()

    def _receive(self, size: int) -> bytes:
        assert self._reader is not None
        received = b""
        while len(received) < size:
            piece = self._reader.recv(size - len(received))
            if not piece:
                raise PlasmaConnectionError("there are no more notifications: the store is gone")
            received += piece
        return received


def _forward(subscription: Subscription, writer: socket.socket, stopped: socket.socket) -> None:
    """Copy notifications to the socket, until the store goes or `stopped` says so."""
    with writer, stopped, selectors.DefaultSelector() as selector:
        try:
            selector.register(subscription.fileno(), selectors.EVENT_READ)
            selector.register(stopped, selectors.EVENT_READ)
            while True:
                while (notification := subscription.next(0)) is not None:
                    writer.sendall(encode(notification))
                if any(key.fileobj is stopped for key, _ in selector.select()):
                    return
        except (PlasmaConnectionError, OSError):
            return  # whoever reads sees the end of the stream
