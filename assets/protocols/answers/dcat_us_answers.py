"""What a DCAT-US catalogue says of itself at its top level, and what `modified` may be. Pure; for `dcat_us.py` alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal

import ijson

from assets.tables.readers.magic import wide

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?\s?(?:Z|[+-]\d{2}(?::?\d{2})?)?)?")
_DURATION = re.compile(
    r"P(?=\w)(?:\d+(?:\.\d+)?W|(?:\d+Y)?(?:\d+M)?(?:\d+(?:\.\d+)?D)?(?:T(?=\d)(?:\d+H)?(?:\d+M)?(?:\d+(?:\.\d+)?S)?)?)"
)


@dataclass(frozen=True)
class Look:
    """The start of a JSON document. `root`: '{', '[' or ''; `listed`: what 'dataset' is, None where it was not met.

    `conforms`: every standard that it names, by address or title; `empty`: the list of data sets ends at once; `said`: an error's
    text; `cut`: it ends before its end; `broken`: it is no JSON.
    """

    root: str = ""
    listed: Literal["list", "other"] | None = None
    conforms: tuple[str, ...] = ()
    empty: bool = False
    said: str = ""
    cut: bool = False
    broken: bool = False


def look(head: bytes, whole: bool) -> Look:
    """Read the top level of what there is. `whole`: the head is all of it. Never raises."""
    text = head.decode("utf-16" if wide(head) else "utf-8-sig", "replace").encode()
    found: dict[str, Any] = {}
    depth, key, inner, before = 0, "", "", ""
    try:
        for event, value in ijson.basic_parse(BytesIO(text), use_float=False):
            if event == "map_key":
                key, inner = (value, "") if depth == 1 else (key, value)
            elif depth == 1 and key == "dataset" and "listed" not in found and found.get("root") == "{":
                found["listed"] = "list" if event == "start_array" else "other"
            elif depth == 2 and key == "dataset" and event == "end_array" and before == "start_array":
                found["empty"] = True
            elif event == "string" and key == "conformsTo" and (depth == 1 or inner in ("", "@id", "identifier", "title")):
                found["conforms"] = (*found.get("conforms", ()), value)[:10]
            elif event == "string" and depth <= 2 and {key, inner} & {"error", "message", "detail"}:
                found.setdefault("said", value)
            if event in ("start_map", "start_array"):
                if depth == 0:
                    found["root"] = "{" if event == "start_map" else "["
                depth += 1
            elif event in ("end_map", "end_array"):
                depth -= 1
            before = event
    except ijson.IncompleteJSONError as error:
        # The parser calls a lexical error incomplete, too.
        found["cut"] = "premature" in str(error)
        found["broken"] = not found["cut"]
    except (ijson.JSONError, ValueError, ArithmeticError):
        found["broken"] = True
    # No object and no list ends otherwise, wherever in a number or a word it was cut.
    ended = text.rstrip()[-1:] in (b"}", b"]")
    found["broken"] = found.get("broken", False) and (ended or not whole)
    found["cut"] = whole and (found.get("cut", False) or not ended)
    return Look(**found)


def same_standard(said: str, known: str) -> bool:
    """Whether an address of a standard is a known one, or something below it; http, capitals and a last slash count for nothing."""
    one, other = (re.sub(r"^https?://", "", address.strip().lower()).rstrip("/") for address in (said, known))
    return one == other or one.startswith((f"{other}/", f"{other}#", f"{other}."))


def dated(modified: Any) -> str | None:
    """A `modified` that is a day or a moment; None for intervals, and for years and months, which are no day."""
    text = modified.strip() if isinstance(modified, str) else ""
    return text if _DATE.fullmatch(text) else None


def every(modified: Any) -> str | None:
    """How often a data set is renewed, where `modified` says that: P1W of R/P1W and of R/2012-01-01/P1W."""
    text = modified.strip() if isinstance(modified, str) else ""
    start, *rest = text.split("/")
    last = rest[-1] if rest else start
    if (not rest or re.fullmatch(r"R\d*", start)) and _DURATION.fullmatch(last):
        return last
    return None
