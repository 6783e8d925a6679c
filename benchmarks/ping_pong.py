"""The floor for a synchronous call between two Python processes: 128 bytes each way.

Over a Unix socket, with nothing above it. What a remote call costs is to be seen against this
figure from the same machine and run.
"""

from __future__ import annotations

import argparse
import statistics

from rayc.scripts.benchmark.ping_pong import BYTES, PingPong
from rayc.scripts.benchmark.timing import steps_per_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.5, help="of a run")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with PingPong() as ping_pong:
        rates = [
            steps_per_s(ping_pong.step, options.seconds, batch=100) for _ in range(options.runs)
        ]
    median = statistics.median(rates)
    print(
        f"socket ping-pong of {BYTES} bytes  {1e6 / median:.1f} us, {median:,.0f}/s"
        f"  ({1e6 / max(rates):.1f} to {1e6 / min(rates):.1f} us, {options.runs} runs)"
    )


if __name__ == "__main__":
    main()
