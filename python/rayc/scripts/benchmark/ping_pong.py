"""The floor for a call between two Python processes: 128 bytes each way over a Unix socket.

Nothing stands above the socket. What a remote call costs is to be seen against this figure from
the same machine and moment.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from types import TracebackType

BYTES = 128

# The other process is a new interpreter, not a fork: the driver of a runtime has threads.
ECHO = f"""\
import socket, sys
connection = socket.socket(fileno=int(sys.argv[1]))
buffer = bytearray({BYTES})
while connection.recv_into(buffer, {BYTES}, socket.MSG_WAITALL) == {BYTES}:
    connection.sendall(buffer)
"""


class PingPong:
    """Another Python process that sends back what it gets; usable in a ``with`` statement."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._peer = subprocess.Popen(
                [sys.executable, "-S", "-c", ECHO, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
            )
        self._message = bytes(BYTES)
        self._buffer = bytearray(BYTES)
        self.step()  # returns once the peer is up

    def step(self) -> None:
        """Send the message, and take it back."""
        self._socket.sendall(self._message)
        if self._socket.recv_into(self._buffer, BYTES, socket.MSG_WAITALL) != BYTES:
            raise ConnectionError("the ping-pong's other process has ended")

    def close(self) -> None:
        """End the other process."""
        self._socket.close()
        self._peer.wait()

    def __enter__(self) -> PingPong:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
