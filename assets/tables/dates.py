"""What a declared date or time format admits, as regular expressions and SQL.

DuckDB's own parsing is lenient (it reads `1/1/24` as the year 24 under %Y, and drops a UTC offset when it casts to
TIMESTAMP), so the shape is checked first and parsed after. Time zones and failures are `staging.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from assets.tables.sql import literal
from quality.contract import Column

_DAY = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_FRACTION = r"(\.[0-9]{1,6}0*)?"
_CLOCK = rf"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]{_FRACTION})?"
_OFFSET = r"(Z|[+-][0-9]{2}(:?[0-9]{2})?)"

FORMAT_24H = r"\100\2"
"""Replacement that turns hour 24 into hour 00 (RE2 reads one digit of a group): see `DatePattern.midnight`."""

_SPECIFIERS: dict[str, str] = {
    "Y": r"[0-9]{4}",
    "y": r"[0-9]{2}",
    "f": r"[0-9]{1,6}",
    "g": r"[0-9]{1,3}",
    "n": r"[0-9]{1,9}",
    "j": r"[0-9]{1,3}",
    "z": r"[+-][0-9]{2}(?::?[0-9]{2})?",
    "Z": r"[A-Za-z0-9_/+-]+",
}
_SHORT = "mdHIMSUW"
_WORDS = "aAbBp"


@dataclass(frozen=True)
class DatePattern:
    """`local`: shape of a value without an offset (empty: none is allowed). `midnight`: shape of a value whose hour is 24, its
    text before and after the hour as groups 1 and 2. `offset`: shape of a value that carries its own offset."""

    local: str
    midnight: str
    offset: str
    format: str | None

    def parse(self, text: str) -> str:
        """SQL TIMESTAMP of text that has the shape `local`; NULL where the calendar has no such day."""
        if self.format is None:
            return f"TRY_CAST({text} AS TIMESTAMP)"
        return f"try_strptime({text}, {literal(self.format)})"

    def instant(self, text: str) -> str:
        """SQL TIMESTAMP in UTC of text that has the shape `offset`."""
        if self.format is not None:
            return f"timezone('UTC', CAST(try_strptime({text}, {literal(self.format)}) AS TIMESTAMPTZ))"
        # DuckDB wants seconds, and +09:00 or +09 right after them; others also write +0900, or a space before it.
        for pattern, replacement in (
            (r" (Z|[+-])", r"\1"),
            (r"^(.{11}[0-9]{2}:[0-9]{2})(Z|[+-])", r"\1:00\2"),
            (r"([+-][0-9]{2})([0-9]{2})$", r"\1:\2"),
        ):
            text = f"regexp_replace({text}, {literal(pattern)}, {literal(replacement)})"
        return f"timezone('UTC', TRY_CAST({text} AS TIMESTAMPTZ))"


def date_pattern(column: Column) -> DatePattern:
    """The shapes of a date or timestamp column with its declared strptime format, or ISO 8601 without one."""
    if column.format is None:
        if column.type == "date":
            return DatePattern(_DAY, "", "", None)
        return DatePattern(
            local=rf"{_DAY}([T ]{_CLOCK})?",
            midnight=r"^([0-9]{4}-[0-9]{2}-[0-9]{2}[T ])24(:00(?::00(?:\.0+)?)?)$",
            offset=rf"{_DAY}[T ]{_CLOCK} ?{_OFFSET}",
            format=None,
        )
    if re.search(r"%[zZ]", column.format):
        return DatePattern("", "", _shape(column.format), column.format)
    return DatePattern(_shape(column.format), _midnight(column.format), "", column.format)


def _tokens(format_: str) -> list[str]:
    """The format cut into specifiers (%Y, %-d) and single characters."""
    return re.findall(r"%-?.|.", format_, re.DOTALL)


def _shape(format_: str) -> str:
    tokens = _tokens(format_)
    return "".join(_one(token, tokens[i + 1] if i + 1 < len(tokens) else "") for i, token in enumerate(tokens))


def _one(token: str, following: str) -> str:
    if not token.startswith("%") or len(token) == 1:
        return re.escape(token)
    letter = token[-1]
    if letter == "%":
        return "%"
    if letter in _SHORT:
        # Digits that run on into the next field cannot be shortened: %Y%m%d means eight digits.
        return r"[0-9]{2}" if following.startswith("%") and "-" not in token else r"[0-9]{1,2}"
    if letter in _WORDS:
        return r"[A-Za-z.]+"
    return _SPECIFIERS.get(letter, ".+")


def _midnight(format_: str) -> str:
    """24:00 under this format, with zero minutes and seconds; empty where the format has no 24-hour clock."""
    tokens = _tokens(format_)
    hours = [i for i, token in enumerate(tokens) if token in ("%H", "%-H")]
    if len(hours) != 1:
        return ""
    before, after = tokens[: hours[0]], tokens[hours[0] + 1 :]
    zero = [
        "0+" if token.startswith("%") and token[-1] in "MSfgn" else _one(token, after[i + 1] if i + 1 < len(after) else "")
        for i, token in enumerate(after)
    ]
    # The day may follow the hour in the format; only minutes and below must be zero.
    head = "".join(_one(token, before[i + 1] if i + 1 < len(before) else "%H") for i, token in enumerate(before))
    return f"^({head})24({''.join(zero)})$"
