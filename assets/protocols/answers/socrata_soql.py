"""SoQL as a whole sentence, as edition 3 of Socrata's interface is asked in it: written, and read from an address. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

_NAMED = re.compile(r"(?:.*\bas\s+)?`?(:?[a-z_][a-z0-9_]*)`?", re.I | re.S)
_SOQL = re.compile(r"\s*select\s+(.*?)(?:\s+where\s+(.*?))?(?:\s+order\s+by\s+(.*?))?\s*", re.I | re.S)
_MORE = re.compile(r"\||\b(group\s+by|having|limit|offset|search|join)\b", re.I)


def written(select: str, where: str = "", group: str = "", order: str = "") -> str:
    """The sentence; a clause without words is left out."""
    clauses = (("SELECT", select), ("WHERE", where), ("GROUP BY", group), ("ORDER BY", order))
    return " ".join(f"{word} {text}" for word, text in clauses if text)


def said_in(soql: str) -> dict[str, str] | None:
    """Its select, where and order; None where it says more than these can."""
    found = _SOQL.fullmatch(soql)
    if found is None or _MORE.search(soql):
        return None
    named = {"select": found[1] if found[1].strip() != "*" else None, "where": found[2], "order": found[3]}
    return {name: text for name, text in named.items() if text}


def text_of(value: str) -> str:
    """A value as a literal of text."""
    return "'" + value.replace("'", "''") + "'"


def columns_in(select: str) -> Sequence[str]:
    """The columns of a selection by the names under which they come; those without a name are left out."""
    parts = re.split(r",(?![^(]*\))", select) if select else []
    return [found[1] for part in parts if (found := _NAMED.fullmatch(part.strip()))]
