"""`rayc start`, `stop` and `status`: clusters that outlive a program: not there yet."""

from __future__ import annotations

import argparse
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Not there yet."
    parser.set_defaults(takes_anything=True)  # better to say the truth than "unknown option"


def run(options: argparse.Namespace) -> int:
    print(
        f"rayc {options.command}: clusters of several nodes, and those that outlive a program, are "
        "not there yet. A program needs none: rayc.init() starts a private cluster on this "
        "machine, which ends with it.",
        file=sys.stderr,
    )
    return 2
