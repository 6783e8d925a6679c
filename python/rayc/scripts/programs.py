"""The package's C++ programs as commands: each becomes the program in rayc/bin."""

import os
import sys
from pathlib import Path
from typing import NoReturn


def plasma_store() -> NoReturn:
    _become("plasma_store")


def _become(program: str) -> NoReturn:
    path = Path(__file__).parents[1] / "bin" / program
    os.execv(path, [program, *sys.argv[1:]])
