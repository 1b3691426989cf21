"""Looking at a source that is not declared yet: which protocol an address speaks, one answer of it, and rows out of that answer.

Effects live here: one request (and those that lead to it), to a temporary folder. What the rows suggest is `columns.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from assets.errors import MadangError
from assets.feeds.model import PROTOCOLS, Feed
from assets.onboarding.layout import Layout, layout_of, refuse_sdmx_json
from assets.onboarding.words import NoTable, Note, Refused
from assets.protocols.answers.http_answers import by_status
from assets.protocols.kernel import Body, Cursor, Empty, Ok, Outcome, Request, Response, Step, Validators, When, outcome_name
from assets.tables.readers.spec import FileShape
from assets.transport.http import TransportSettings
from assets.transport.schemes import Transport
from assets.transport.secrets import Secrets
from assets.yaml_document import key_in_url

if TYPE_CHECKING:
    from assets.transport.exchange import Exchange

SAMPLE_ROWS = 5000
MAX_SAMPLE_BYTES = 512 * 1024 * 1024
DROPS = frozenset({"sftp", "ftp", "ftps", "s3"})
"""Schemes of folders in which an agency lays files."""
_NOBODY = "madang_asks_for_no_such_column"


@dataclass(frozen=True)
class Sample:
    """What came of one look. `source`: the `source:` block so far; `sources`: headers or paths, in order; `rows`: text values."""

    source: dict[str, Any]
    outcome: str
    bytes_read: int
    encoding: str | None
    sources: tuple[str, ...]
    rows: tuple[tuple[str | None, ...], ...]
    notes: tuple[Note, ...] = ()


def source_of(url: str, protocol: str | None = None) -> dict[str, Any]:
    """The `source:` block that an address suggests; that of a file where no API is recognised. Refused on what is no address.

    `protocol`: the one that the person named, which must recognise the address. An SFTP server's still lacks its `host_keys`.
    """
    parts = _parts(url)
    laid = parts.scheme in DROPS
    if parts.password or (parts.username and not laid):
        raise Refused("user_in_address")
    if protocol is not None and protocol not in PROTOCOLS:
        near = get_close_matches(protocol, PROTOCOLS, n=1)
        raise Refused(
            "no_protocol_near" if near else "no_protocol",
            protocol=protocol,
            near=(*near, "")[0],
            known=", ".join(sorted(PROTOCOLS)),
        )
    for one in [PROTOCOLS[protocol]] if protocol is not None else [one for one in PROTOCOLS.values() if one.drop or not laid]:
        if (found := one.recognise(url)) is not None:
            if found["protocol"] == "sftp" and "auth" not in found:
                raise Refused("no_user", where=_shown(url))
            return found
    where = _shown(url)
    if laid and protocol is None:
        raise Refused("no_folder", where=where, scheme=parts.scheme)
    if protocol not in (None, "http_file"):
        raise Refused("not_its_address", where=where, protocol=protocol)
    if parts.hostname == "www.data.go.kr" and parts.path.endswith("/openapi.do"):
        raise Refused("portal_page", where=where)
    if key_in_url(url):
        raise Refused("key_in_address", where=where)
    return {"protocol": "http_file", "url": url, "format": "csv"}


def _parts(url: str) -> SplitResult:
    """The parts of an address of the web or of a folder of files. Refused on any other."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise Refused("no_address", where=_shown(url)) from None
    if (parts.scheme not in ("http", "https") and parts.scheme not in DROPS) or not parts.hostname:
        raise Refused("no_address", where=_shown(url))
    return parts


def keyless(address: str) -> str:
    """The address, which is written into the declaration as it is. Refused where it holds a key, a user or a password."""
    if key_in_url(address):
        raise Refused("key_in_address", where=_shown(address))
    return address


def address_of(source: Mapping[str, Any]) -> str:
    """The address of a `source:` block, without a key."""
    return provisional(source, [_NOBODY]).source.address


def provisional(source: Mapping[str, Any], columns: Sequence[str], *, country: str = "KR", encoding: str | None = None) -> Feed:
    """A feed that only serves to look: every column is text."""
    return Feed.model_validate(
        {
            "id": "looking.at",
            "title": "looking",
            "agency": {"name": "?", "country": country},
            "licence": {"id": "other", "url": "?"},
            "schedule": {"cron": "0 0 * * *"},
            "source": dict(source),
            "decode": {"encoding": encoding} if encoding else {},
            "contract": {
                "columns": [{"name": f"c{n}", "source": name} for n, name in enumerate(columns)],
                "missing_columns": "null",
            },
        }
    )


def look_at_file(path: Path, name: str, *, country: str, source: Mapping[str, Any] | None = None) -> Sample:
    """A file in hand. `name`: its file name; `source`: the block that says where the agency will have it, and how it speaks.

    Raises UnreadableSource where it is no table.
    """
    own = f"https://agency.example/{Path(name).name}"
    source = source or {"protocol": "http_file", "url": own, "format": "csv"}
    feed = provisional(source, [_NOBODY], country=country)
    address = own if feed.protocol.drop else feed.source.address  # what lies in a folder has the name of the file in hand
    if not isinstance(feed.source, FileShape):
        refuse_sdmx_json(path)
        return _sampled(dict(source), [Body(path, {}, address)], path.stat().st_size, country, Layout({}))
    layout = layout_of(path, name, address)
    return _sampled(_shaped(source, layout), [Body(path, {}, address)], path.stat().st_size, country, layout)


def _shaped(source: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
    return {**{name: value for name, value in source.items() if name != "format"}, **layout.shape}


def _shown(url: str) -> str:
    """For messages: what stands before an @ may be a password, and what follows a question mark a key."""
    return url.partition("?")[0].rpartition("@")[2][:200]


def look(
    source: Mapping[str, Any],
    folder: Path,
    *,
    transport: TransportSettings,
    secrets: Mapping[str, str],
    country: str,
    now: datetime | None = None,
) -> Sample:
    """Ask once, and read what comes. MadangError with the agency's outcome where no rows came.

    `secrets`: environment name → value; `folder`: an existing one, for the body.
    """
    return asyncio.run(_look(dict(source), folder, transport, secrets, country, now or datetime.now(UTC)))


async def _look(
    source: dict[str, Any],
    folder: Path,
    transport: TransportSettings,
    secrets: Mapping[str, str],
    country: str,
    now: datetime,
) -> Sample:
    feed = provisional(source, [_NOBODY], country=country)
    if (variable := feed.source.auth.secret) is not None and not secrets.get(variable, "").strip():
        raise Refused("key_missing", where=feed.source.address, variable=variable)
    known = Secrets(secrets, feed=feed.id, auth=feed.source.auth, declared=feed.source.model_dump_json())
    async with Transport(transport) as opened:

        async def ask(request: Request) -> Exchange:
            return await opened.exchange(request, feed.source, folder, secrets=known)

        if source["protocol"] == "http_file":
            exchange = await ask(Request(feed.source.address))
            outcome = exchange.verdict or by_status(exchange.status, exchange.header_map()) or Ok()
            _require(outcome, exchange)
            body = Body(exchange.decoded, exchange.header_map(), exchange.url)
            layout = layout_of(body.path, feed.source.address, feed.source.address)
            return _sampled(_shaped(source, layout), [body], exchange.decoded_length, country, layout)
        steps = list(feed.protocol.plan(feed, feed.source, When(now)))
        while steps:
            step = steps.pop(0)
            exchange, outcome = await _asked(feed, step, ask)
            _require(outcome, exchange)
            body = Body(exchange.decoded, exchange.header_map(), exchange.url)
            if _is_laid(exchange.request) and not step.lead:
                layout = layout_of(body.path, exchange.url)
                return _sampled(_shaped(source, layout), [body], exchange.decoded_length, country, layout)
            if not step.lead:
                return _sampled(source, [body], exchange.decoded_length, country, Layout({}), outcome)
            steps = list(feed.protocol.follow(feed, feed.source, step, body))
    if feed.protocol.drop:
        raise Refused("no_file_fits", where=feed.source.address, files=source["files"])
    raise Refused("nothing_to_ask", where=feed.source.address)


async def _asked(feed: Feed, step: Step, ask: Any) -> tuple[Exchange, Outcome]:
    request = feed.protocol.request(feed, feed.source, replace(step, ordinal=0), Cursor(), Validators())
    exchange: Exchange = await ask(request)
    if exchange.verdict is not None:
        return exchange, exchange.verdict
    if _is_laid(request) and not step.lead:
        return exchange, Ok()  # which format it has is what is looked for
    outcome = feed.protocol.classify(
        feed.source,
        request,
        Response(exchange.status, exchange.header_map(), exchange.head, exchange.tail, exchange.decoded_length, exchange.complete),
    )
    return exchange, outcome


def _is_laid(request: Request) -> bool:
    """Whether it asks for a file in a folder, whose name says nothing of how it is read."""
    return urlsplit(request.url).scheme in DROPS


def _require(outcome: Outcome, exchange: Exchange) -> None:
    if isinstance(outcome, Ok | Empty):
        return
    reason = getattr(outcome, "reason", "")
    said = {"outcome": outcome_name(outcome), "reason": f": {reason}" if reason else ""}
    if mend := getattr(outcome, "mend", ""):
        raise MadangError(f"the agency's answer means {said['outcome']}{said['reason']}", where=exchange.url, mend=mend)
    key = "answered_by_folder" if _is_laid(exchange.request) else "answered"
    raise Refused(key, where=exchange.url, **said)


def _sampled(
    source: dict[str, Any], bodies: Sequence[Body], size: int, country: str, layout: Layout, outcome: Outcome | None = None
) -> Sample:
    encoding, notes = layout.encoding, list(layout.notes)
    if isinstance(outcome, Empty):
        return Sample(source, "Empty", size, encoding, (), (), (Note("no_rows"),))
    names = _names(provisional(source, [_NOBODY], country=country, encoding=encoding), bodies)
    if not names:
        raise NoTable("no_column")
    feed = provisional(source, names, country=country, encoding=encoding)
    rows: list[tuple[str | None, ...]] = []
    stream = feed.protocol.parse(feed, feed.source, bodies)
    for batch in stream.batches:
        rows += zip(*(column.to_pylist() for column in batch.columns[: len(names)]), strict=True)
        if len(rows) >= SAMPLE_ROWS:
            notes.append(Note("first_rows", {"count": f"{SAMPLE_ROWS:,}"}))
            break
    if not rows:
        notes.append(Note("no_rows"))
    return Sample(source, "Ok", size, encoding, tuple(names), tuple(rows[:SAMPLE_ROWS]), tuple(notes))


def _names(feed: Feed, bodies: Sequence[Body]) -> list[str]:
    """Headers or paths of the first rows, in order of appearance."""
    stream = feed.protocol.parse(feed, feed.source, bodies)
    for batch in stream.batches:
        if batch.num_rows:
            break
    return [name for name in stream.seen_columns if name != _NOBODY]
