"""rayc's own messages to the driver: the logger named "rayc".

Set up when there is first something to say, since the logging package is slow to import
and a correct program is told nothing.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging

DEFAULT_FORMAT = "%(asctime)s\t%(levelname)s %(filename)s:%(lineno)s -- %(message)s"

_LEVELS = frozenset("critical fatal error warning warn info debug notset".split())
_settings: tuple[bool, int | str, str] = (True, "info", DEFAULT_FORMAT)
_applied: object = None


def configure(enabled: bool, level: int | str, line_format: str | None) -> None:
    """Take over `init`'s arguments `configure_logging`, `logging_level`, `logging_format`."""
    global _settings
    if isinstance(level, bool) or not isinstance(level, (int, str)):
        raise TypeError(f"logging_level must be a level's name or number, not {level!r}")
    if isinstance(level, str) and level.lower() not in _LEVELS:
        raise ValueError(
            f"logging_level {level!r} is unknown; it must be a number or one of "
            "'critical', 'error', 'warning', 'info', 'debug'"
        )
    _settings = (bool(enabled), level, line_format or DEFAULT_FORMAT)
    if "logging" in sys.modules:
        logger()


def logger() -> logging.Logger:
    """Return the library's logger, set up as `init` was told."""
    global _applied
    import logging

    log = logging.getLogger("rayc")
    if _applied != _settings:
        enabled, level, line_format = _settings
        for handler in list(log.handlers):
            if getattr(handler, "is_of_rayc", False):
                log.removeHandler(handler)
        log.setLevel(level.upper() if isinstance(level, str) else level)
        log.propagate = not enabled
        if enabled:
            handler = _make_stderr_handler()
            handler.setFormatter(logging.Formatter(line_format))
            log.addHandler(handler)
        _applied = _settings
    return log


def _make_stderr_handler() -> logging.Handler:
    import logging

    class StderrHandler(logging.StreamHandler):  # type: ignore[type-arg]
        """Writes to what sys.stderr is at the time, not what it was."""

        is_of_rayc = True

        @property
        def stream(self) -> object:
            return sys.stderr

        @stream.setter
        def stream(self, value: object) -> None:
            pass

    return StderrHandler()


def warn(message: str) -> None:
    """Log a warning."""
    logger().warning(message, stacklevel=2)
