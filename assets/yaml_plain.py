"""The quick way through a declaration: plain data, where every scalar says beyond doubt what it is.

`yaml_document.py` reads declarations; its own way, with line numbers, costs thirty times as much and is the one that decides.
Whatever could be read in two ways, or is refused, is None here, and goes that way.
"""

from __future__ import annotations

import re
from typing import Any

try:
    import yaml
    from yaml import CSafeLoader as Loader
except ImportError:  # PyYAML comes with the platform, not with the base; without its C parser nothing is gained
    yaml = None  # type: ignore[assignment]

_ABSENT = object()
_LINE_ENDS = re.compile("[\x85\u2028\u2029\ufeff\x00-\x09\x0b-\x1f\x7f]")
"""Characters that YAML 1.1, which the C parser speaks, takes for line ends and 1.2 does not; what neither allows; and tabs, which
the two take differently between tokens."""
_WORD = re.compile(r"[^\W\d_][^\x00-\x1f]*")
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"-?(0|[1-9][0-9]{0,8})\.[0-9]{1,9}")
_SPECIAL = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n", "inf", "nan"})
_VALUES = {"true": True, "false": False, "null": None}


class _Doubt(Exception):
    """The careful way has to decide."""


def plain_data(text: str, max_depth: int) -> dict[str, Any] | None:
    """One mapping as dict, list, str, int, float, bool and None; None where the careful way has to decide."""
    if yaml is None or _LINE_ENDS.search(text) or text.startswith(("%", "---")):
        return None
    try:
        events = yaml.parse(text, Loader=Loader)
        for _ in range(2):  # the stream's start, the document's start
            next(events)
        found = _value(next(events), events, max_depth)
        if not isinstance(next(events), yaml.DocumentEndEvent) or not isinstance(next(events), yaml.StreamEndEvent):
            return None
    except (_Doubt, yaml.YAMLError, StopIteration, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _value(event: Any, events: Any, depth: int) -> Any:
    if getattr(event, "anchor", _ABSENT) is not None or event.tag is not None or depth < 0:
        raise _Doubt
    if isinstance(event, yaml.ScalarEvent):
        return _scalar(event)
    if isinstance(event, yaml.SequenceStartEvent):
        items = []
        while not isinstance(item := next(events), yaml.SequenceEndEvent):
            items.append(_value(item, events, depth - 1))
        return items
    found: dict[str, Any] = {}
    while not isinstance(key := next(events), yaml.MappingEndEvent):
        name = _value(key, events, depth - 1)
        if not isinstance(name, str) or name in found:
            raise _Doubt
        found[name] = _value(next(events), events, depth - 1)
    return found


def _scalar(event: Any) -> Any:
    text = event.value
    if event.style:  # quoted, or a block
        return text
    if text in _VALUES:
        return _VALUES[text]
    if _WORD.fullmatch(text) and text.lower() not in _SPECIAL:
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    raise _Doubt
