"""Schedules in words, Korean or English, to cron and back: 매일 03:00, every weekday 6:30, 매월 5일 오전 3시 30분.

Pure. Words that are not understood whole are refused, never half understood. When a schedule runs next is `assets/feeds/load.py`.
"""

from __future__ import annotations

import re
from typing import Literal

Language = Literal["en", "ko"]

EXAMPLES = {
    "ko": (
        "매일 03:00 · 매시 20분 · 30분마다 · 평일 06:30 · 매주 월,목 09:00 · "
        "매월 5일 오전 3시 30분 · 매분기 2일 04:00 · 매년 3월 2일 04:00"
    ),
    "en": (
        "every day 03:00 · hourly at :20 · every 30 minutes · every weekday 6:30 · mondays and thursdays 9am · "
        "monthly on the 5th 03:30 · quarterly on the 2nd 04:00 · yearly on March 2 04:00"
    ),
}
_DAYS_KO = "일월화수목금토"
_DAYS_EN = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_MONTHS_EN = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
_CRON = re.compile(r"^\s*([\d*/,\-]+)(\s+[\d*/,\-]+){2}\s+[\w*/,\-]+\s+[\w*/,\-]+\s*$")
_FILLERS = re.compile(r"\b(?:at|on|the|of|every|each|and|a|month)\b|마다|에|정각|[,·&:]|매(?=\s|$)", re.I)


class NotUnderstood(ValueError):
    """Words that name no schedule. `key`, `values`: what is in the way, a sentence of `schedule:` in words.yaml."""

    def __init__(self, key: str, **values: object) -> None:
        super().__init__(key, values)
        self.key, self.values = key, values


def cron_of(words: str) -> str:
    """The cron expression of a schedule in words; a cron expression stays what it is. Raises NotUnderstood."""
    if _CRON.match(words):
        from croniter import croniter

        if not croniter.is_valid(words.strip()):
            raise NotUnderstood("no_cron", words=" ".join(words.split())[:60])
        return " ".join(words.split())
    text = " ".join(words.strip().lower().split())
    text, clock = _time(text)
    for kind in (_minutes, _hours, _hourly, _yearly, _quarterly, _monthly, _weekly, _daily):
        found = kind(text, clock)
        if found is not None:
            cron, rest = found
            if left := _FILLERS.sub(" ", rest).split():
                raise NotUnderstood("left", words=" ".join(left))
            return cron
    raise NotUnderstood("none", words=words.strip()[:60])


Clock = tuple[int, int] | None
_Found = tuple[str, str] | None


def _time(text: str) -> tuple[str, Clock]:
    """The text without its time of day, and the time as (hour, minute)."""
    for pattern in (
        r"(?P<h>\d{1,2}):(?P<m>\d{2})\s*(?P<half>am|pm)?",
        r"(?<![\d:])(?P<h>\d{1,2})\s*(?P<half>am|pm)\b",
        r"(?P<half>오전|오후|새벽|밤)?\s*(?P<h>\d{1,2})시(?!간)\s*(?:(?P<m>\d{1,2})분(?!마다)|(?P<thirty>반))?",
    ):
        if match := re.search(pattern, text):
            named = match.groupdict()
            hour = int(named["h"])
            minute = 30 if named.get("thirty") else int(named.get("m") or 0)
            half = named.get("half")
            if half and not 1 <= hour <= 12:
                raise NotUnderstood("half", hour=hour, half=half)
            if half in ("pm", "오후", "밤") and hour < 12:
                hour += 12
            elif half in ("am", "오전", "새벽") and hour == 12:
                hour = 0
            if hour > 23 or minute > 59:
                raise NotUnderstood("no_such_time", time=match[0].strip())
            rest = text[: match.start()] + " " + text[match.end() :]
            if re.search(r"\d{1,2}:\d{2}|\d{1,2}시(?!간)|\d\s*(?:am|pm)\b", rest):
                raise NotUnderstood("two_times")
            return rest, (hour, minute)
    for word, hour in (("midnight", 0), ("자정", 0), ("noon", 12), ("정오", 12)):
        if word in text:
            return text.replace(word, " "), (hour, 0)
    return text, None


def _at(clock: Clock) -> str:
    if clock is None:
        raise NotUnderstood("no_time")
    return f"{clock[1]} {clock[0]}"


def _cut(pattern: str, text: str) -> tuple[re.Match[str], str] | None:
    match = re.search(pattern, text)
    return None if match is None else (match, text[: match.start()] + " " + text[match.end() :])


def _minutes(text: str, clock: Clock) -> _Found:
    if (cut := _cut(r"every\s+(\d{1,2})\s*min(?:ute)?s?\b|(\d{1,2})\s*분\s*마다|매\s*(\d{1,2})\s*분(?!기)", text)) is None:
        return None
    match, rest = cut
    every = int(next(g for g in match.groups() if g))
    if every == 0 or 60 % every or clock is not None:
        raise NotUnderstood("uneven_minutes", every=every)
    return f"*/{every} * * * *", rest


def _hours(text: str, clock: Clock) -> _Found:
    if (cut := _cut(r"every\s+(\d{1,2})\s*hours?\b|(\d{1,2})\s*시간\s*마다", text)) is None:
        return None
    match, rest = cut
    every = int(next(g for g in match.groups() if g))
    if every == 0 or 24 % every or clock is not None:
        raise NotUnderstood("uneven_hours", every=every)
    minute, rest = _minute(rest)
    return f"{minute} */{every} * * *", rest


def _hourly(text: str, clock: Clock) -> _Found:
    if clock is not None or (cut := _cut(r"\bhourly\b|\bevery\s+hour\b|매\s*시간?", text)) is None:
        return None
    minute, rest = _minute(cut[1])
    return f"{minute} * * * *", rest


def _minute(text: str) -> tuple[int, str]:
    if (cut := _cut(r":(\d{2})\b|(\d{1,2})\s*분|minute\s+(\d{1,2})\b", text)) is None:
        return 0, text
    minute = int(next(g for g in cut[0].groups() if g))
    if minute > 59:
        raise NotUnderstood("no_such_minute", minute=minute)
    return minute, cut[1]


def _yearly(text: str, clock: Clock) -> _Found:
    names = "|".join(rf"{m[:3]}(?:{m[3:]})?" if len(m) > 3 else m for m in _MONTHS_EN)
    if korean := _cut(r"(?:매년|해마다)\s*(\d{1,2})월\s*(\d{1,2})일", text):
        month, day, rest = int(korean[0][1]), int(korean[0][2]), korean[1]
    elif (yearly := _cut(r"\b(?:yearly|annually|every\s+year)\b", text)) and (
        named := _cut(rf"\b({names})\s+(\d{{1,2}})(?:st|nd|rd|th)?\b", yearly[1])
    ):
        month = next(n for n, m in enumerate(_MONTHS_EN, 1) if m.startswith(named[0][1][:3]))
        day, rest = int(named[0][2]), named[1]
    else:
        return None
    if not 1 <= month <= 12:
        raise NotUnderstood("no_such_month", month=month)
    return f"{_at(clock)} {_day(day)} {month} *", rest


def _quarterly(text: str, clock: Clock) -> _Found:
    if (cut := _cut(r"\bquarterly\b|\bevery\s+quarter\b|매\s*분기|분기\s*마다", text)) is None:
        return None
    day, rest = _day_in(cut[1])
    return f"{_at(clock)} {day or 1} 1,4,7,10 *", rest


def _monthly(text: str, clock: Clock) -> _Found:
    if (cut := _cut(r"\bmonthly\b|\bevery\s+month\b|매월|매달|달마다", text)) is None:
        return None
    day, rest = _day_in(cut[1])
    if day is None:
        raise NotUnderstood("no_day")
    return f"{_at(clock)} {day} * *", rest


def _day_in(text: str) -> tuple[int | None, str]:
    if re.search(r"말일|last\s+day", text):
        raise NotUnderstood("last_day")
    if (cut := _cut(r"(\d{1,2})\s*(?:st|nd|rd|th)\b|(\d{1,2})\s*일|\bday\s+(\d{1,2})\b", text)) is None:
        return None, text
    return _day(int(next(g for g in cut[0].groups() if g))), cut[1]


def _day(day: int) -> int:
    if not 1 <= day <= 28:
        raise NotUnderstood("not_every_month", day=day)
    return day


def _weekly(text: str, clock: Clock) -> _Found:
    if cut := _cut(r"평일|\bweekdays?\b", text):
        return f"{_at(clock)} * * 1-5", cut[1]
    if cut := _cut(r"주말|\bweekends?\b", text):
        return f"{_at(clock)} * * 0,6", cut[1]
    days: set[int] = set()
    for number, name in enumerate(_DAYS_EN):
        while cut := _cut(rf"\b{name[:3]}(?:{name[3:]})?s?\b", text):
            days.add(number)
            text = cut[1]
    if cut := _cut(rf"(?:매주|주마다)\s*([{_DAYS_KO}](?:요일)?(?:\s*[,·와과]?\s*[{_DAYS_KO}](?:요일)?)*)", text):
        # 일 of 요일 is no Sunday.
        days |= {_DAYS_KO.index(letter) for letter in cut[0][1].replace("요일", "") if letter in _DAYS_KO}
        text = cut[1]
    if not days:
        return None
    text = re.sub(r"\bweekly\b|\bevery\s+week\b", " ", text)
    return f"{_at(clock)} * * {','.join(map(str, sorted(days)))}", text


def _daily(text: str, clock: Clock) -> _Found:
    cut = _cut(r"\bdaily\b|\bevery\s+day\b|매일|날마다", text)
    if cut is None and (clock is None or _FILLERS.sub(" ", text).split()):
        return None
    return f"{_at(clock)} * * *", cut[1] if cut else text


def in_words(cron: str, language: Language) -> str:
    """A cron expression in words that `cron_of` understands; the expression itself where it is none that people say."""
    parts = cron.split()
    if len(parts) != 5:
        return cron
    minute, hour, day, month, weekday = parts
    korean = language == "ko"
    if re.fullmatch(r"\*/\d+", minute) and parts[1:] == ["*"] * 4 and 60 % int(minute[2:]) == 0:
        return f"{minute[2:]}분마다" if korean else f"every {minute[2:]} minutes"
    if not minute.isdigit():
        return cron
    if parts[2:] == ["*"] * 3:
        if hour == "*":
            return f"매시 {int(minute)}분" if korean else f"hourly at :{int(minute):02}"
        if re.fullmatch(r"\*/\d+", hour) and 24 % int(hour[2:]) == 0:
            return f"{hour[2:]}시간마다 {int(minute)}분" if korean else f"every {hour[2:]} hours at :{int(minute):02}"
    if not hour.isdigit():
        return cron
    at = f"{int(hour):02}:{int(minute):02}"
    if (day, month) == ("*", "*"):
        return _week_in_words(weekday, at, korean) or cron
    if weekday != "*" or not day.isdigit() or not 1 <= int(day) <= 28:
        return cron
    if month == "*":
        return f"매월 {day}일 {at}" if korean else f"monthly on the {_ordinal(int(day))} {at}"
    if month == "1,4,7,10":
        return f"매분기 {day}일 {at}" if korean else f"quarterly on the {_ordinal(int(day))} {at}"
    if month.isdigit() and 1 <= int(month) <= 12:
        return f"매년 {month}월 {day}일 {at}" if korean else f"yearly on {_MONTHS_EN[int(month) - 1].capitalize()} {day} {at}"
    return cron


def _week_in_words(weekday: str, at: str, korean: bool) -> str | None:
    named = {"*": ("매일", "every day"), "1-5": ("평일", "every weekday"), "0,6": ("주말", "every weekend")}.get(weekday)
    if named is not None:
        return f"{named[0] if korean else named[1]} {at}"
    if not re.fullmatch(r"[0-6](?:,[0-6])*", weekday):
        return None
    days = sorted({int(part) for part in weekday.split(",")})
    if korean:
        return f"매주 {','.join(_DAYS_KO[n] for n in days)} {at}"
    return f"{' and '.join(f'{_DAYS_EN[n]}s' for n in days)} {at}"


def _ordinal(number: int) -> str:
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
