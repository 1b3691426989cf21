"""Onboarding's sentences in Korean and English, from `words.yaml`. What is said when is the other modules' business."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from assets.errors import MadangError, UnreadableSource
from assets.onboarding.schedule import Language

FILE = Path(__file__).with_name("words.yaml")


@dataclass(frozen=True)
class Note:
    """One thing to look at: a key of `notes:` with what is filled in."""

    key: str
    values: Mapping[str, Any] = field(default_factory=dict)

    def text(self, language: Language) -> str:
        return words("notes", self.key, language, **self.values)


def words(group: str, key: str, language: Language, /, **values: Any) -> str:
    """The sentence, filled in. KeyError for one that is not there."""
    return str(_all()[group][key][language]).format(**values)


class Refused(MadangError):
    """What onboarding cannot go on with: a key of `refused:` and `mends:`. It is English until it is `told` to a person."""

    def __init__(self, key: str, *, where: str = "", **values: Any) -> None:
        self.key, self.values = key, values
        what, mend = _refusal(key, values, "en")
        super().__init__(what, where=where, mend=mend)

    def told(self, language: Language, *, where: str | None = None) -> MadangError:
        """The same error in the person's language. `where`: in place of its own."""
        what, mend = _refusal(self.key, self.values, language)
        kind = UnreadableSource if isinstance(self, UnreadableSource) else MadangError
        return kind(what, where=self.where if where is None else where, mend=mend)


class NoTable(Refused, UnreadableSource):
    """Bytes that are no table that Madang reads."""


def _refusal(key: str, values: Mapping[str, Any], language: Language) -> tuple[str, str]:
    """What is wrong, and the mend. `kind` among the values is a key of `kinds:`."""
    filled = {**values, **({"kind": words("kinds", values["kind"], language)} if "kind" in values else {})}
    return words("refused", key, language, **filled), words("mends", key, language, **filled)


def language_of(environment: Mapping[str, str] = os.environ) -> Language:
    """Korean in a Korean locale, English in any other."""
    locale = next((environment[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environment.get(name)), "")
    return "ko" if locale.lower().startswith("ko") else "en"


@cache
def _all() -> dict[str, dict[str, dict[str, str]]]:
    from ruamel.yaml import YAML

    loaded: dict[str, dict[str, dict[str, str]]] = YAML(typ="safe").load(FILE.read_text(encoding="utf-8"))
    return loaded
