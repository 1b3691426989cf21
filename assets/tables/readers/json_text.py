"""JSON text into values, quickly, with all digits of its numbers. Where the records stand in it is `json_reader.py`'s."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import msgspec


class NumberText(str):
    """A JSON number as it was written; a str that knows it was no string."""

    __slots__ = ()


class NotJson(ValueError):
    """Text that is no JSON; the message says why, without a value from the text."""


_DECODER = msgspec.json.Decoder(float_hook=NumberText)


def loads(text: str | bytes) -> Any:
    """JSON with all digits of its numbers: whole ones as int, others as `NumberText`.

    Raises NotJson on anything else, NaN and endless nesting included.
    """
    try:
        return _DECODER.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _slowly(text)


def _slowly(text: str | bytes) -> Any:
    """What msgspec refuses: half a surrogate pair and endless whole numbers are JSON; of the rest Python says where it breaks."""
    try:
        return json.loads(text, parse_float=NumberText, parse_int=NumberText, parse_constant=_constant)
    except NotJson:
        raise
    except RecursionError:
        raise NotJson("values nested too deeply") from None
    except json.JSONDecodeError as error:
        raise NotJson(f"no JSON at line {error.lineno}, column {error.colno}") from None
    except UnicodeDecodeError:
        raise NotJson("no UTF-8 text") from None
    except ValueError:
        raise NotJson("no JSON") from None


def _constant(name: str) -> Any:
    raise NotJson(f"{name} is no JSON value")


@lru_cache(maxsize=1)
def short_document(page: bytes) -> Any:
    """A short page's document, the same one where it is asked for twice: a page is judged, then counted. It must not be changed.

    Raises NotJson on anything but JSON in UTF-8 without a mark.
    """
    try:
        return _DECODER.decode(page)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        pass
    try:
        return _slowly(page.decode())
    except UnicodeDecodeError:
        raise NotJson("no UTF-8 text") from None
