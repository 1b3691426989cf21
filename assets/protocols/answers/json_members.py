"""The members of a JSON object at its top level, seen through a body's head and tail alone.

For answers whose records may carry fields of the same names as the page around them, or whose page says of itself things that are
no scalars (a list of links). What the members mean is each protocol's own; scalars at any depth are `json_pages.py`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from assets.protocols.answers.numbers import whole_number
from assets.protocols.kernel import Response

_FORWARD = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|["{}\[\],]', re.DOTALL)
# In reversed text a quote inside a string is followed by the backslash that stood before it.
_BACKWARD = re.compile(r'"[^"]*(?:"(?=\\)[^"]*)*"(?!\\)|["{}\[\],]', re.DOTALL)
_NAME = re.compile(r'\s*"((?:[^"\\]|\\.){1,100})"\s*:\s*(.)', re.DOTALL)


@dataclass(frozen=True)
class Members:
    """What was seen whole of an object. `cut`: the member that only begins in the head, and the first character of its value.

    `whole`: all of the body was seen; `ended`: it ends as an object does.
    """

    values: dict[str, Any] = field(default_factory=dict)
    cut: tuple[str, str] | None = None
    whole: bool = False
    ended: bool = True

    def holds_list(self, name: str) -> bool:
        """Whether the member is a list, as far as it was seen."""
        return isinstance(self.values.get(name), list) or self.cut == (name, "[")

    def number(self, name: str) -> int | None:
        """A whole number that is not negative, from an int or a numeric string; None for anything else ("unknown")."""
        value = self.values.get(name)
        return whole_number(value.strip() if isinstance(value, str) else value)


def members_of(response: Response) -> Members | None:
    """The members of the object that a body is. None: it begins as no object, or is broken where it was seen. Never raises."""
    start = response.head.decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    if start[:1] != "{":
        return None
    if response.length <= len(response.head):
        found = _object(start)
        return Members(found, whole=True) if found is not None else Members(ended=False)
    end = response.tail.decode("utf-8", "replace").rstrip()
    before, at_cut = _first(start)
    after = _last(end)
    if before is None or after is None:
        return Members(ended=False)
    named = _NAME.match(start, at_cut)
    cut = (named[1], named[2]) if named else None
    return Members({**before, **after}, cut, ended=True)


def _object(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _first(text: str) -> tuple[dict[str, Any] | None, int]:
    """The members that end within the text, and where the next one begins."""
    depth, comma = 0, 0
    for token in _FORWARD.finditer(text):
        one = token[0]
        if one == '"':
            break  # the text ends within a string
        if one in ("{", "["):
            depth += 1
        elif one in ("}", "]"):
            depth -= 1
            if depth <= 0:
                return None, 0  # it ends before its end
        elif one == "," and depth == 1:
            comma = token.start()
    return ({}, 1) if not comma else (_object(text[:comma] + "}"), comma + 1)


def _last(text: str) -> dict[str, Any] | None:
    """The members that begin within the text, which ends the object; None where it does not."""
    if text[-1:] != "}":
        return None
    depth, comma, size = 0, None, len(text)
    for token in _BACKWARD.finditer(text[::-1]):
        one = token[0]
        if one == '"':
            break  # the text begins within a string
        if one in ("}", "]"):
            depth += 1
        elif one in ("{", "["):
            depth -= 1
            if depth <= 0:
                break
        elif one == "," and depth == 1:
            comma = size - token.end()
    return {} if comma is None else _object("{" + text[comma + 1 :])
