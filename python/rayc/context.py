"""What `init` returns."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from rayc._raylet import build_version

__all__ = ["RaycContext"]


class RaycContext(Mapping[str, Any]):
    """What `init` returns: where the session is. As a context manager it ends it."""

    def __init__(self, address_info: dict[str, Any]) -> None:
        self.address_info = address_info
        self.dashboard_url = ""
        self.python_version = ".".join(map(str, sys.version_info[:3]))
        self.ray_version = build_version
        self.ray_commit = ""

    def disconnect(self) -> None:
        """End the session: see `rayc.shutdown`."""
        from rayc.api import shutdown

        shutdown()

    def __enter__(self) -> RaycContext:
        return self

    def __exit__(self, *error: object) -> None:
        self.disconnect()

    def __getitem__(self, key: str) -> Any:
        import warnings

        warnings.warn(
            f"init()[{key!r}] is deprecated: use init().address_info[{key!r}]",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.address_info[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.address_info)

    def __len__(self) -> int:
        return len(self.address_info)

    def __repr__(self) -> str:
        return f"RaycContext({self.address_info})"
