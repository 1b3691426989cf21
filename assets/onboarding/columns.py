"""What columns a sample shows: types, formats, null markers, bounds, and which of them identify a row.

A proposal from some rows: bounds are only what the kind of value makes certain, so that tomorrow's rows are not refused because
of today's. Pure; reading the sample is `looking.py`, writing the declaration `declaration.py`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import combinations
from typing import Any

from assets.onboarding.naming import column_names
from assets.onboarding.words import Note

MARKERS = frozenset({
    "", "-", "--", ".", "..", "...", "*", "X", "x", "N/A", "n/a", "NA", "NaN", "nan", "NULL", "null", "None", "없음", "해당없음",
    "해당 없음", "자료없음", "미상", "결측",
})  # fmt: skip
"""What agencies write where there is no value. A marker counts as one only in a column whose other values have a type."""
SENTINELS = (-9, -99, -999, -9999, -99.9, -999.9, -99.0, 9999, 99999)
MOST_CODES = 12
LONGEST_KEY = 4
LOOKED_AT = 200
"""Values of a column that are looked at for what is personal."""
PERSONAL = re.compile(
    r"성명|이름|대표자|담당자|전화|연락처|휴대|이메일|메일|주민등록|주민번호|생년월일|여권|계좌"
    r"|(?:^|_)(?:name|fn|person|phone|telephone|tel|mobile|e_?mail|birth|birthday|passport)(?:$|_)",
    re.I,
)
"""Headers of columns that may be about people, after `_snake`: hasEmail and contact.email are what contact_email is."""
NOT_PERSONAL = re.compile(
    r"(?:agency|airport|city|column|country|county|dataset|district|event|facility|field|file|group|host|layer|place|product|route|"
    r"school|series|species|state|station|stop|street|table|variable)_(?:(?:short|long|full|en|eng|ko|kor)_)?name(?:_|$)"
)
"""Names of things, not of people."""
PERSONAL_VALUE = re.compile(r"(?:mailto:)?[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+|01[016789]-\d{3,4}-\d{4}|\d{6}-[1-8*]\d{0,6}\**")
"""An e-mail address, a Korean mobile number, a resident registration number, whole or masked: whatever the header says."""
COUNTED = re.compile(
    r"수$|건수|인원|명수|대수|횟수|면적|거리|인구|강수|강우|적설|습도|조회|물량|수량|생산량|사용량|거래량"
    r"|(?:^|_)(?:count|counts|number|num|population|area|distance|precipitation|rainfall|snowfall|humidity|quantity|qty|visits|riders)(?:$|_)",
    re.I,
)
"""Headers of what is counted or measured from nothing, and is never below it: prices, temperatures and rates of change are."""
SIGNED = re.compile(r"지수|점수|계수|증감|증가|감소|차이|율|률|대비|^순|net|change|diff|index", re.I)
"""Headers of what may be below nothing all the same: indices, differences, rates, net numbers."""
_DATES = ("%Y-%m-%d", "%Y.%m.%d", "%Y/%m/%d", "%Y%m%d", "%Y년 %m월 %d일", "%d/%m/%Y", "%m/%d/%Y", "%d-%b-%y")
_TIMES = (
    "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y.%m.%d %H:%M", "%Y/%m/%d %H:%M",
    "%Y/%m/%d %H:%M:%S", "%Y%m%d%H%M%S", "%Y%m%d%H%M",
)  # fmt: skip
_PERIOD = re.compile(r"(?:19|20)\d{2}(?:[-.]?(?:0[1-9]|1[0-2])|[-. ]?Q[1-4]|[-. ]?S[12]|[. ][1-4]/4)")
_DURATION = re.compile(r"(\d{1,4}):[0-5]\d:[0-5]\d")
_INTEGER = re.compile(r"[+-]?\d{1,18}")
_GROUPED = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?")


@dataclass(frozen=True)
class Guess:
    """One proposed column. `declared`: the fields of the contract's column beside name and source; `why`: in a few words."""

    name: str
    source: str
    declared: dict[str, Any] = field(default_factory=dict)
    personal: bool = False
    markers: frozenset[str] = frozenset()
    sentinels: tuple[float, ...] = ()
    midnight_24: bool = False
    why: str = ""

    def as_column(self) -> dict[str, Any]:
        """The column as `feed.yaml` has it."""
        source = {} if self.source == self.name else {"source": self.source}
        korean = any("가" <= letter <= "힣" for letter in self.source)
        titled = {"title_ko" if korean else "title_en": self.source} if source and "." not in self.source else {}
        return {"name": self.name, **source, **self.declared, **titled}


@dataclass(frozen=True)
class Proposal:
    """What a contract could be. `decode`: null markers, sentinels, 24:00; `notes`: what a person should look at."""

    columns: tuple[Guess, ...]
    key: tuple[str, ...]
    decode: dict[str, Any]
    notes: tuple[Note, ...]


def _snake(source: str) -> str:
    """A header in words joined by `_`: hasEmail, contact.email and Contact Email are alike."""
    return re.sub(r"[^\w]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", source)).lower()


def personal(source: str, values: Sequence[str | None]) -> bool:
    """Whether a column may be about people, by its header or by what stands in it."""
    words = _snake(source)
    if PERSONAL.search(NOT_PERSONAL.sub("", words)):
        return True
    seen = [value.strip() for value in values if value and value.strip() not in MARKERS][:LOOKED_AT]
    return bool(seen) and 2 * sum(1 for value in seen if PERSONAL_VALUE.fullmatch(value)) > len(seen)


def propose(sources: Sequence[str], rows: Sequence[Sequence[str | None]]) -> Proposal:
    """The contract that a sample suggests. `sources`: headers or paths; `rows`: values as text, None where there is none."""
    names = column_names(sources)
    cells = [[row[n] for row in rows] for n in range(len(sources))]
    guesses = [_column(names[source], source, values) for source, values in zip(sources, cells, strict=True)]
    markers = frozenset({""}).union(*(g.markers for g in guesses)) if guesses else frozenset({""})
    key = _key(guesses, cells, markers)
    guesses = [replace(g, declared={**g.declared, "nullable": False}) if g.name in key else g for g in guesses]
    decode: dict[str, Any] = {}
    if markers != {""}:
        decode["null_values"] = ["", *sorted(markers - {""})]
    if any(g.midnight_24 for g in guesses):
        decode["allow_24h"] = True
    return Proposal(tuple(guesses), key, decode, _notes(guesses, key, len(rows)))


def _notes(guesses: Sequence[Guess], key: tuple[str, ...], rows: int) -> tuple[Note, ...]:
    notes = []
    if not key:
        notes.append(Note("no_key"))
    elif rows < 30:
        notes.append(Note("key_guess", {"key": ", ".join(key), "count": rows}))
    for guess in guesses:
        if guess.personal:
            notes.append(Note("personal", {"name": guess.name, "source": guess.source}))
        if guess.sentinels:
            notes.append(Note("sentinels", {"name": guess.name, "values": ", ".join(f"{value:g}" for value in guess.sentinels)}))
    return tuple(notes)


# --- one column -----------------------------------------------------------------------------------------------------------


def _column(name: str, source: str, values: Sequence[str | None]) -> Guess:
    about_people = personal(source, values)
    present = [value.strip() for value in values if value is not None]
    solid = [value for value in present if value not in MARKERS]
    if not solid:
        return Guess(name, source, {"type": "string"}, about_people, why="no values in the sample")
    for kind in (_as_period, _as_date, _as_timestamp, _as_duration, _as_boolean, _as_number):
        found = kind(source, solid)
        if found is not None:
            markers = frozenset(value for value in present if value in MARKERS)
            declared = {**found.declared, **({} if about_people else {"cleared": True})}
            return replace(found, name=name, source=source, declared=declared, personal=about_people, markers=markers)
    return Guess(name, source, _as_text(present, about_people), about_people, why="text")


def _as_period(source: str, values: Sequence[str]) -> Guess | None:
    if not all(_PERIOD.fullmatch(value) for value in values):
        return None
    return Guess("", "", {"type": "period", "max_length": max(7, *map(len, values))}, why=f"periods like {values[0]}")


def _as_date(source: str, values: Sequence[str]) -> Guess | None:
    if (form := _form(values, _DATES)) is None:
        return None
    declared: dict[str, Any] = {"type": "date"} | ({} if form == "%Y-%m-%d" else {"format": form})
    return Guess("", "", declared, why=f"dates like {values[0]}")


def _as_timestamp(source: str, values: Sequence[str]) -> Guess | None:
    midnight = [value for value in values if re.search(r"\b24:00", value)]
    plain = [value.replace("24:00", "00:00") for value in values]
    if (form := _form(plain, _TIMES)) is not None:
        return Guess("", "", {"type": "timestamp", "format": form}, midnight_24=bool(midnight), why=f"moments like {values[0]}")
    if all(_iso(value) for value in values):
        return Guess("", "", {"type": "timestamp"}, why=f"moments like {values[0]}")
    if re.search(r"time|date|at$|일시|시각", source, re.I) and all(re.fullmatch(r"1\d{12}", value) for value in values):
        return Guess("", "", {"type": "timestamp", "format": "epoch_ms"}, why="milliseconds since 1970")
    return None


def _as_duration(source: str, values: Sequence[str]) -> Guess | None:
    """A clock that goes on past 24:00:00, as in timetables; one that does not may be a time of day, and stays text."""
    found = [_DURATION.fullmatch(value) for value in values]
    if not all(found) or not any(match and int(match[1]) >= 24 for match in found):
        return None
    return Guess("", "", {"type": "duration"}, why=f"hours, minutes and seconds like {values[0]}")


def _form(values: Sequence[str], forms: Sequence[str]) -> str | None:
    """The first format that every value has; a plausible year is part of it."""
    for form in forms:
        if all(_reads(value, form) for value in values):
            return form
    return None


def _reads(value: str, form: str) -> bool:
    try:
        moment = datetime.strptime(value, form)
    except ValueError:
        return False
    # strptime takes %m for one digit and reads 2024123 as a date; what it writes back must be what was there.
    same = form == "%d-%b-%y" or moment.strftime(form) == value
    return same and 1850 <= moment.year <= 2150


def _iso(value: str) -> bool:
    try:
        return "T" in value and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _as_boolean(source: str, values: Sequence[str]) -> Guess | None:
    if len(values) < 2 or not ({*values} <= {"Y", "N"} or {*values} <= {"true", "false"} or {*values} <= {"True", "False"}):
        return None
    return Guess("", "", {"type": "boolean"}, why="yes or no")


def _as_number(source: str, values: Sequence[str]) -> Guess | None:
    grouped = any(_GROUPED.fullmatch(value) for value in values)
    bare = [value.replace(",", "") if _GROUPED.fullmatch(value) else value for value in values]
    # A code with leading zeros is text: 01101 and 1101 are two districts.
    if not all(_NUMBER.fullmatch(value) for value in bare) or any(re.fullmatch(r"0\d+", value) for value in bare):
        return None
    if re.search(r"코드|code|번호|우편|zip|_id$|^id$|_no$", source, re.I) and len({len(value) for value in bare}) == 1:
        return None
    whole = all(_INTEGER.fullmatch(value) for value in bare)
    numbers = [float(value) for value in bare]
    declared: dict[str, Any] = {"type": "integer" if whole else "number"}
    if grouped:
        declared["thousands"] = ","
    rest = [number for number in numbers if number not in SENTINELS]
    sentinels = _sentinels(numbers, rest)
    if sentinels:
        declared["sentinels"] = [int(value) if value == int(value) else value for value in sentinels]
        numbers = rest
    declared |= _bounds(source, numbers)
    return Guess("", "", declared, sentinels=sentinels, why="whole numbers" if whole else "numbers")


def _sentinels(numbers: Sequence[float], rest: Sequence[float]) -> tuple[float, ...]:
    """Well-known stand-ins for 'no value' that lie far from all other numbers."""
    seen = sorted({number for number in numbers if number in SENTINELS})
    if not seen or not rest:
        return ()
    low, high = min(rest), max(rest)
    far = max(high - low, abs(high), abs(low), 1.0)
    return tuple(value for value in seen if value < low - far or value > high + 10 * far or (value < -90 and low >= 0))


def _bounds(source: str, numbers: Sequence[float]) -> dict[str, Any]:
    low, high = min(numbers), max(numbers)
    if re.search(r"위도|(?:^|[_.])lat(?:itude)?$", source, re.I) and low >= -90 and high <= 90:
        return {"min": -90, "max": 90}
    if re.search(r"경도|(?:^|[_.])(?:lon|lng)(?:gitude)?$", source, re.I) and low >= -180 and high <= 180:
        return {"min": -180, "max": 180}
    if re.search(r"습도|humidity", source, re.I) and low >= 0 and high <= 100:
        return {"min": 0, "max": 100}
    return {"min": 0} if low >= 0 and COUNTED.search(_snake(source)) and not SIGNED.search(source) else {}


def _as_text(values: Sequence[str], about_people: bool) -> dict[str, Any]:
    longest = max(len(value) for value in values)
    room = next(n for n in (10, 20, 40, 60, 100, 200, 500, 1000, 4000, 100_000, 10**9) if n >= 2 * longest)
    declared: dict[str, Any] = {"type": "string", "max_length": room}
    distinct = Counter(values)
    few = len(distinct) <= MOST_CODES and len(values) >= 10 * len(distinct) and longest <= 40
    if few and not about_people:
        declared["cleared"] = True
    return declared


# --- the key --------------------------------------------------------------------------------------------------------------


def _key(guesses: Sequence[Guess], cells: Sequence[Sequence[str | None]], markers: frozenset[str]) -> tuple[str, ...]:
    """The fewest columns without gaps whose values tell all rows apart; earlier columns and better kinds first."""
    if not cells or not cells[0]:
        return ()
    ranked: list[tuple[int, int]] = []
    for n, guess in enumerate(guesses):
        if any(value is None or value.strip() in markers for value in cells[n]):
            continue
        ranked.append((_rank(guess), n))
    candidates = [n for rank, n in sorted(ranked) if rank < 9][:14]
    total = len(cells[0])
    for size in range(1, LONGEST_KEY + 1):
        for chosen in combinations(candidates, size):
            if len(set(zip(*(cells[n] for n in chosen), strict=True))) == total:
                return tuple(guesses[n].name for n in sorted(chosen))
    return ()


def _rank(guess: Guess) -> int:
    """How well a column suits as part of a key: 9 and above never does."""
    if guess.personal:
        return 8  # two people may have one name
    if re.search(r"(?:^|\.)(?:id|identifier|uuid)$|아이디", guess.source, re.I):
        return 0
    if re.search(r"(?:^|_|\.)(?:id|code|no|key)$|코드|번호", guess.source, re.I):
        return 1
    kind = guess.declared["type"]
    if kind == "string" and re.search(r"명$|(?:^|_|\.| )name$|지역|구분|종류|type$", guess.source, re.I):
        return 2
    by_kind: dict[str, int] = {"date": 3, "timestamp": 3, "period": 3, "duration": 3, "string": 4, "integer": 5, "boolean": 8}
    if kind == "string" and (guess.declared.get("max_length", 0) > 200 or re.search(r"ur[li]|주소|내용|설명", guess.source, re.I)):
        return 9
    return by_kind.get(kind, 9)
