"""The command `rayc`: finds the subcommand, and loads only what that one needs.

A subcommand is a line of COMMANDS: its module has `add_arguments(parser)` and
`run(options) -> exit code`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple


class Command(NamedTuple):
    """A subcommand: where it lives, and what it does."""

    module: str
    help: str


COMMANDS = {
    "memory": Command("rayc.scripts.memory", "print the objects of a node, and who holds them"),
    "microbenchmark": Command("rayc.scripts.microbenchmark", "measure this machine"),
    "start": Command("rayc.scripts.clusters", "start a node (not there yet)"),
    "stop": Command("rayc.scripts.clusters", "stop nodes (not there yet)"),
    "status": Command("rayc.scripts.clusters", "show a cluster (not there yet)"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(
        prog="rayc", description="Tasks, actors and shared objects for Python."
    )
    parser.add_argument("--version", action="store_true", help="print the version, and end")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND")
    asked = next((argument for argument in arguments if not argument.startswith("-")), None)
    for name, command in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=command.help)
        if name == asked:  # no other module is needed, not even for --help
            module = import_module(command.module)
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
    options, unknown = parser.parse_known_args(arguments)
    if unknown and not getattr(options, "takes_anything", False):
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if options.version:
        import rayc

        print(f"rayc {rayc.__version__}")
        return 0
    if options.command is None:
        parser.print_help()
        return 2
    try:
        return int(options.run(options))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has ended
        sys.stderr.close()
        return 141


if __name__ == "__main__":
    sys.exit(main())
