"""Which files a list of patterns leaves out, in the language of .gitignore."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple


class _Pattern(NamedTuple):
    regex: re.Pattern[str]
    negated: bool
    folders_only: bool


class IgnorePatterns:
    """Patterns that apply below one folder; the last one that matches decides."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._patterns = [made for line in lines if (made := _parse(line)) is not None]

    def decide(self, path: str, is_folder: bool) -> bool | None:
        """Return whether a path is left out; None if no pattern says anything.

        Parameters
        ----------
        path : str
            Relative to the folder of the patterns, with "/" between its parts.
        is_folder : bool
            Whether it is a folder.
        """
        for pattern in reversed(self._patterns):
            if (is_folder or not pattern.folders_only) and pattern.regex.fullmatch(path):
                return not pattern.negated
        return None


def _parse(line: str) -> _Pattern | None:
    line = line.rstrip("\r\n")
    while line.endswith(" ") and not line.endswith("\\ "):
        line = line[:-1]
    if not line or line.startswith("#"):
        return None
    negated = line.startswith("!")
    if negated:
        line = line[1:]
    folders_only = line.endswith("/")
    line = line.rstrip("/")
    if not line:
        return None
    anchored = "/" in line  # else it matches at any depth
    line = line.lstrip("/")
    regex = _translate(line)
    return _Pattern(re.compile(regex if anchored else f"(?:.*/)?{regex}"), negated, folders_only)


def _translate(pattern: str) -> str:
    regex, at = "", 0
    while at < len(pattern):
        if pattern.startswith("**/", at) and (at == 0 or pattern[at - 1] == "/"):
            regex += "(?:.*/)?"
            at += 3
        elif pattern[at:] == "**" and (at == 0 or pattern[at - 1] == "/"):
            regex += ".+"
            at += 2
        elif pattern[at] == "*":
            regex += "[^/]*"
            at += 1
        elif pattern[at] == "?":
            regex += "[^/]"
            at += 1
        elif pattern[at] == "[" and (end := pattern.find("]", at + 2)) != -1:
            inside = pattern[at + 1 : end].replace("\\", "\\\\").replace("[", "\\[")
            regex += "[" + ("^" + inside[1:] if inside[0] in "!^" else inside) + "]"
            at = end + 1
        elif pattern[at] == "\\" and at + 1 < len(pattern):
            regex += re.escape(pattern[at + 1])
            at += 2
        else:
            regex += re.escape(pattern[at])
            at += 1
    return regex
