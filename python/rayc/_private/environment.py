"""The variables through which people set rayc's knobs."""

from __future__ import annotations

import os


def setting(name: str, default: str = "") -> str:
    """Return the variable RAYC_<name>, else RAY_<name>, else the default."""
    value = os.environ.get(f"RAYC_{name}")
    if value is None:
        value = os.environ.get(f"RAY_{name}", default)
    return value


def flag(name: str, default: bool) -> bool:
    """Return a setting that is on or off."""
    return setting(name, "1" if default else "0").lower() in ("1", "true", "yes", "on")
