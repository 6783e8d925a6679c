"""The floor for a synchronous call between two Python processes: 128 bytes each way.

Over a Unix socket, with nothing above it. What a remote call costs is to be seen against this
figure from the same machine and run.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import time

BYTES = 128


def echo(connection: socket.socket) -> None:
    buffer = bytearray(BYTES)
    while connection.recv_into(buffer, BYTES, socket.MSG_WAITALL) == BYTES:
        connection.sendall(buffer)


def round_trips_us(count: int, runs: int) -> list[float]:
    """Microseconds per round trip, one figure per run."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        echo(theirs)
        os._exit(0)
    theirs.close()
    message = bytes(BYTES)
    buffer = bytearray(BYTES)
    figures = []
    for _ in range(runs):
        start = time.perf_counter()
        for _ in range(count):
            ours.sendall(message)
            ours.recv_into(buffer, BYTES, socket.MSG_WAITALL)
        figures.append((time.perf_counter() - start) / count * 1e6)
    ours.close()
    os.waitpid(pid, 0)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=20_000, help="round trips per run")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    figures = round_trips_us(options.count, options.runs)
    median = statistics.median(figures)
    print(
        f"socket ping-pong of {BYTES} bytes  {median:.1f} us, {1e6 / median:,.0f}/s"
        f"  ({min(figures):.1f} to {max(figures):.1f} us, {options.runs} runs)"
    )


if __name__ == "__main__":
    main()
