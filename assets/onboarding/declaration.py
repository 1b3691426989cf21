"""The `feed.yaml` of what was looked at and answered: text for people, that the checker reads without a problem.

Pure but for `write_feed`. What columns there are is `columns.py`'s proposal; who answers the questions, the caller's business.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from assets.feeds.load import FEED_FILE
from assets.feeds.model import FEED_ID, LICENCE_ID
from assets.onboarding.columns import Proposal
from assets.onboarding.looking import Sample
from assets.onboarding.naming import column_name
from assets.onboarding.words import Refused
from quality.rights import table

ZONES = {
    "KR": "Asia/Seoul",
    "US": "America/New_York",
    "JP": "Asia/Tokyo",
    "GB": "Europe/London",
    "DE": "Europe/Berlin",
    "FR": "Europe/Paris",
}
"""The zone of an agency's schedule where nothing else is said."""
_GENERIC = frozenset(("www", "api", "apis", "data", "open", "openapi", "files", "example", "kr", "us", "uk", "jp", "de", "fr")) | {
    *("go", "or", "co", "ac", "re", "gov", "com", "org", "net"),
}
"""Parts of a host that name no agency."""
_PLAIN = re.compile(r"[A-Za-z가-힣_/*][\w가-힣 ()/.*_-]*")
_RESERVED = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n", "~", "nan", "inf"})


@dataclass(frozen=True)
class Answers:
    """What only a person can say of a feed. `schedule`: a cron expression."""

    id: str
    title: str
    agency: str
    country: str
    licence: str
    licence_url: str
    schedule: str
    timezone: str
    documentation: str | None = None
    contact_name: str | None = None
    contact_email: str | None = None


def suggested_id(country: str, address: str, title: str) -> str:
    """country.agency.name, from the address's host and the title: kr.hanbit.library_loans."""
    host = (urlsplit(address).hostname or "agency.example").split(".")
    agency = next((part for part in host if part not in _GENERIC and not part.isdigit()), "agency")
    return f"{country.lower()}.{_word(agency)}.{_word(title) or 'rows'}"


def _word(text: str) -> str:
    return re.sub(r"_+", "_", column_name(text))[:40].strip("_")


def licence_id(said: str) -> str:
    """The id of a licence as people name it: 공공누리 1유형 and kogl-1 are KOGL-1. Refused where it is no id at all."""

    def bare(text: str) -> str:
        return re.sub(r"[\s제·]", "", text).lower()

    named = {bare(name): id_ for id_, terms in table().items() for name in (id_, terms.title, terms.title_ko) if name}
    id_ = named.get(bare(said), said.strip())
    if not re.fullmatch(LICENCE_ID, id_):
        raise Refused("no_licence", licence=id_[:80])
    return id_


def feed_yaml(sample: Sample, proposal: Proposal, answers: Answers) -> str:
    """The whole declaration. A fetch is the whole table anew; where the rows have a key, what vanishes is withdrawn."""
    parts = [
        f"id: {answers.id}",
        f"title: {_scalar(answers.title)}",
        f"agency: {_flow({'name': answers.agency, 'country': answers.country})}",
        f"licence: {_flow({'id': answers.licence, 'url': answers.licence_url})}",
        *([f"documentation: {_scalar(answers.documentation)}"] if answers.documentation else []),
        f"schedule: {_flow({'cron': answers.schedule, 'timezone': answers.timezone})}",
        "source:",
        *(f"  {name}: {_value(value)}" for name, value in sample.source.items()),
    ]
    decode = {**({"encoding": sample.encoding} if sample.encoding else {}), **proposal.decode}
    if decode:
        parts += ["decode:", *(f"  {name}: {_value(value)}" for name, value in decode.items())]
    parts += ["contract:"]
    if proposal.key:
        parts.append(f"  key: {_value(list(proposal.key))}")
    parts += ["  columns:", *(f"    - {_flow(column.as_column())}" for column in proposal.columns)]
    if answers.contact_name:
        contact = {"name": answers.contact_name, **({"email": answers.contact_email} if answers.contact_email else {})}
        parts.append(f"contact: {_flow(contact)}")
    return "\n".join(parts) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return _flow(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(_value(item) for item in value)}]"
    return _scalar(value)


def _flow(value: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f"{_scalar(name)}: {_value(inner)}" for name, inner in value.items()) + "}"


def _scalar(value: Any) -> str:
    """Plain where that cannot be read in two ways; else in JSON's quotes, which are YAML's too."""
    if not isinstance(value, str):
        return json.dumps(value)
    plain = _PLAIN.fullmatch(value) and value == value.strip() and value.lower() not in _RESERVED and not value.startswith("*")
    return value if plain else json.dumps(value, ensure_ascii=False)


def free_place(folder: Path, id_: str) -> Path:
    """Where the declaration of a new feed goes, `<folder>/<id>/feed.yaml`. Refused where one is there, or the id is none."""
    if not re.fullmatch(FEED_ID, id_):
        raise Refused("no_id", id=id_[:80])
    path = folder / id_ / FEED_FILE
    if path.exists():
        raise Refused("taken", where=str(path))
    return path


def write_feed(folder: Path, answers: Answers, text: str) -> Path:
    """Write the declaration into its `free_place`."""
    path = free_place(folder, answers.id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
