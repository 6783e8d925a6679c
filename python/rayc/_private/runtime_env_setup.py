"""Makes a worker one of its runtime environment: variables, folder, search path."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Mapping
from typing import Any

from rayc._private import blas_threads, packaging
from rayc._raylet import CoreWorker

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def set_up(env: Mapping[str, Any], session_dir: str, core: CoreWorker) -> None:
    """Apply an environment to this process, before any code of the user's.

    Raises
    ------
    RuntimeEnvSetupError
        If that is not possible.
    """
    uri = env.get("working_dir")
    if uri:
        folder = packaging.fetch(uri, session_dir, core)
        os.chdir(folder)
        sys.path.insert(0, folder)
    variables = env.get("env_vars")
    if variables:
        os.environ.update(expanded(variables, os.environ))
        if "TZ" in variables:
            time.tzset()
        blas_threads.follow_environment()


def expanded(variables: Mapping[str, str], before: Mapping[str, str]) -> dict[str, str]:
    """Return variables with each ``${NAME}`` in them replaced by what it was before.

    Unknown names become empty if they are upper case, and stay otherwise.
    """

    def value_of(match: re.Match[str]) -> str:
        name = match[1]
        return before.get(name, "" if name.isupper() else match[0])

    return {name: _VARIABLE.sub(value_of, value) for name, value in variables.items()}
