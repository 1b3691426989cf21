"""How large a question to KOSIS is, and how it is asked in parts (protocols.md 2.6). Pure.

Periods are whole numbers here, one after the other, so that a range can be counted and halved whatever its kind. What is sent
and what comes back is `kosis.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from math import prod
from typing import Any

ALL = ("ALL",)
"""The codes of a class of which the feed lists none."""
LONGEST_CODES = 3000
"""Characters of the codes of one class in a question: they stand in its address."""


@dataclass(frozen=True)
class Question:
    """One query. `codes`: parameter (objL1 … objL8, then itmId) → its codes. `first`, `last`: periods of `kind`, both meant;

    None where the feed asks for the newest ones, or names its periods itself. `known`: the codes behind an ALL, once KOSIS told.
    """

    codes: Mapping[str, tuple[str, ...]]
    kind: str = "Y"
    first: int | None = None
    last: int | None = None
    known: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def periods(self) -> int | None:
        return None if self.first is None or self.last is None else self.last - self.first + 1

    def listed(self) -> dict[str, tuple[str, ...]]:
        """The codes, with those that are known in place of ALL."""
        return {name: self.known.get(name, codes) if codes == ALL else codes for name, codes in self.codes.items()}

    def is_too_long(self) -> bool:
        return any(sum(map(len, codes)) + len(codes) > LONGEST_CODES for codes in self.codes.values())

    def range(self) -> tuple[str, str] | None:
        """The two ends as KOSIS writes them; None where there is no range."""
        if self.first is None or self.last is None:
            return None
        return period_text(self.kind, self.first), period_text(self.kind, self.last)


def cells(question: Question, newest: int | None) -> int | None:
    """Items × classes × periods; None where one of them is not listed. `newest`: how many periods, where there is no range."""
    count, listed = question.periods or newest, question.listed().values()
    return None if count is None or ALL in listed else count * prod(map(len, listed))


def halves(question: Question) -> list[Question]:
    """Two questions in place of one: by period, else by the first class with several codes, else by item. None: it is one cell,
    or nothing that is listed.
    """
    if question.first is not None and question.last is not None and question.first < question.last:
        middle = (question.first + question.last) // 2
        return [replace(question, last=middle), replace(question, first=middle + 1)]
    for name, codes in question.listed().items():
        if len(codes) > 1:
            middle = len(codes) // 2
            parts = (codes[:middle], codes[middle:])
            return [replace(question, codes={**question.codes, name: part}) for part in parts]
    return []


def fitting(question: Question, limit: int, newest: int | None) -> Iterator[Question]:
    """The question, halved until each part is known to fit, or cannot be told or halved; in order."""
    size = cells(question, newest)
    parts = halves(question) if question.is_too_long() or (size is not None and size > limit) else []
    if not parts:
        yield question
    for part in parts:
        yield from fitting(part, limit, newest)


def codes_of(rows: Iterable[Any]) -> dict[str, tuple[str, ...]]:
    """The codes of each class and of the items, from what `getMeta`, `type=ITM` answers: OBJ_ID_SN tells which class it is."""
    found: dict[str, dict[str, None]] = {}
    for row in rows:
        if isinstance(row, dict) and (code := str(row.get("ITM_ID") or "")):
            place = "itmId" if row.get("OBJ_ID") == "ITEM" else f"objL{row.get('OBJ_ID_SN')}"
            found.setdefault(place, {})[code] = None
    return {name: tuple(codes) for name, codes in found.items()}


# --- periods ----------------------------------------------------------------------------------------------------------------


def period_of(kind: str, day: date) -> int:
    """The period of that kind (D, M, Q, H or Y) in which the day lies."""
    if kind == "D":
        return day.toordinal()
    parts = {"M": 12, "Q": 4, "H": 2}.get(kind, 1)
    return day.year * parts + (day.month - 1) * parts // 12


def period_text(kind: str, period: int) -> str:
    """As KOSIS writes it: 20261125, 202611, 202604 (fourth quarter), 202602 (second half), 2026."""
    if kind == "D":
        return date.fromordinal(period).strftime("%Y%m%d")
    year, part = divmod(period, {"M": 12, "Q": 4, "H": 2}.get(kind, 1))
    return f"{year}{part + 1:02d}" if kind in ("M", "Q", "H") else f"{year}"


def before(day: date) -> date:
    """The day before: the end of a window is past its last day."""
    return day - timedelta(days=1)
