"""Looking at a source that is not declared yet: which protocol an address speaks, one answer of it, and rows out of that answer.

Effects live here: one request (and those that lead to it), to a temporary folder. What the rows suggest is `columns.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from assets.errors import MadangError, UnreadableSource
from assets.feeds.model import PROTOCOLS, Feed
from assets.onboarding.layout import Layout, layout_of
from assets.onboarding.words import Note
from assets.protocols.answers.http_answers import by_status
from assets.protocols.kernel import Body, Cursor, Empty, Ok, Outcome, Request, Response, Step, Validators, When, outcome_name
from assets.transport.http import TransportSettings
from assets.transport.schemes import Transport
from assets.transport.secrets import Secrets

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
    """The `source:` block that an address suggests; that of a file where no API is recognised. MadangError on what is no address.

    `protocol`: the one that the person named, which must recognise the address. An SFTP server's still lacks its `host_keys`.
    """
    parts = urlsplit(url)
    web, laid = parts.scheme in ("http", "https"), parts.scheme in DROPS
    if not (web or laid) or not parts.hostname:
        raise MadangError(
            "this is no http address, and none of a folder of files (sftp, ftp, s3)",
            where=_without_login(url),
            mend="paste the address of the file or API, with https://, or sftp://user@host/folder/pattern*.csv",
        )
    if parts.password or (web and parts.username):
        raise MadangError("the address holds a user name or password", mend="leave it out; keys belong in the environment")
    named = [PROTOCOLS[protocol]] if protocol in PROTOCOLS else []
    if protocol is not None and not named:
        raise MadangError(f"there is no protocol '{protocol}'", mend=f"there are: {', '.join(sorted(PROTOCOLS))}")
    for one in named or [one for one in PROTOCOLS.values() if one.drop == laid]:
        if (found := one.recognise(url)) is not None:
            if found["protocol"] == "sftp" and "auth" not in found:
                raise MadangError("the address names no user", where=url[:200], mend="write it before the host: sftp://user@host/…")
            return found
    if laid and protocol is None:
        raise MadangError(
            "the folder and the files cannot be made out",
            where=url[:200],
            mend=f"write {parts.scheme}://host/folder/pattern*.csv; of sftp and ftp only the last part may be a pattern",
        )
    if protocol not in (None, "http_file"):
        raise MadangError(
            f"an address of {protocol} cannot be made out here",
            where=url[:200],
            mend=f"write the source: block by hand; docs/protocols/{protocol}.md has an example",
        )
    return {"protocol": "http_file", "url": url, "format": "csv"}


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


def look_at_file(path: Path, name: str, *, country: str, url: str | None = None, drop: Mapping[str, Any] | None = None) -> Sample:
    """A file in hand. `name`: its file name; `url`: where the agency will have it; `drop`: the `source:` of the folder that it will

    lie in, where that is one. UnreadableSource where it is no table.
    """
    layout, own = layout_of(path, name), f"https://agency.example/{Path(name).name}"
    if drop is not None:
        return _sampled(_shaped(drop, layout), [Body(path, {}, own)], path.stat().st_size, country, layout)
    source = {"protocol": "http_file", "url": url or own, **layout.shape}
    return _sampled(source, [Body(path, {}, source["url"])], path.stat().st_size, country, layout)


def _shaped(source: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
    return {**{name: value for name, value in source.items() if name != "format"}, **layout.shape}


def _without_login(url: str) -> str:
    """For messages: whatever stands before an @ may be a password."""
    return url.rpartition("@")[2][:200]


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
    known = Secrets(secrets, feed=feed.id, auth=feed.source.auth, declared=feed.source.model_dump_json())
    async with Transport(transport) as opened:

        async def ask(request: Request) -> Exchange:
            return await opened.exchange(request, feed.source, folder, secrets=known)

        if source["protocol"] == "http_file":
            exchange = await ask(Request(feed.source.address))
            outcome = exchange.verdict or by_status(exchange.status, exchange.header_map()) or Ok()
            _require(outcome, exchange)
            body = Body(exchange.decoded, exchange.header_map(), exchange.url)
            layout = layout_of(body.path, feed.source.address)
            return _sampled(_shaped(source, layout), [body], exchange.decoded_length, country, layout)
        steps = list(feed.protocol.plan(feed, feed.source, When(now)))
        while steps:
            step = steps.pop(0)
            exchange, outcome = await _asked(feed, step, ask)
            _require(outcome, exchange)
            body = Body(exchange.decoded, exchange.header_map(), exchange.url)
            if feed.protocol.drop and not step.lead:
                layout = layout_of(body.path, exchange.url)
                return _sampled(_shaped(source, layout), [body], exchange.decoded_length, country, layout)
            if not step.lead:
                return _sampled(source, [body], exchange.decoded_length, country, Layout({}), outcome)
            steps = list(feed.protocol.follow(feed, feed.source, step, body))
    if feed.protocol.drop:
        what, mend = f"no file there fits {source['files']}", "check the folder and the pattern; unfinished files are left out"
        raise MadangError(what, where=feed.source.address, mend=mend)
    raise MadangError("the agency names nothing to ask for", where=feed.source.address, mend="check the address")


async def _asked(feed: Feed, step: Step, ask: Any) -> tuple[Exchange, Outcome]:
    request = feed.protocol.request(feed, feed.source, replace(step, ordinal=0), Cursor(), Validators())
    exchange: Exchange = await ask(request)
    if exchange.verdict is not None:
        return exchange, exchange.verdict
    if feed.protocol.drop and not step.lead:
        return exchange, Ok()  # which format it has is what is looked for
    outcome = feed.protocol.classify(
        feed.source,
        request,
        Response(exchange.status, exchange.header_map(), exchange.head, exchange.tail, exchange.decoded_length, exchange.complete),
    )
    return exchange, outcome


def _require(outcome: Outcome, exchange: Exchange) -> None:
    if isinstance(outcome, Ok | Empty):
        return
    mend = "check the address, and the key if it takes one; open it in a browser"
    if urlsplit(exchange.request.url).scheme in DROPS:
        mend = (
            "check the address and the login; or look at a file in hand (--file), and write into the source: what the server needs"
        )
    raise MadangError(
        f"the agency's answer means {outcome_name(outcome)}: {getattr(outcome, 'reason', '')}".rstrip(": "),
        where=exchange.url,
        mend=getattr(outcome, "mend", "") or mend,
    )


def _sampled(
    source: dict[str, Any], bodies: Sequence[Body], size: int, country: str, layout: Layout, outcome: Outcome | None = None
) -> Sample:
    encoding, notes = layout.encoding, list(layout.notes)
    if isinstance(outcome, Empty):
        return Sample(source, "Empty", size, encoding, (), (), (Note("no_rows"),))
    names = _names(provisional(source, [_NOBODY], country=country, encoding=encoding), bodies)
    if not names:
        raise UnreadableSource("no column could be made out", where=source.get("url", ""), mend="look at the file")
    feed = provisional(source, names, country=country, encoding=encoding)
    rows: list[tuple[str | None, ...]] = []
    stream = feed.protocol.parse(feed, feed.source, bodies)
    for batch in stream.batches:
        rows += zip(*(column.to_pylist() for column in batch.columns[: len(names)]), strict=True)
        if len(rows) >= SAMPLE_ROWS:
            notes.append(Note("first_rows", {"count": f"{SAMPLE_ROWS:,}"}))
            break
    return Sample(source, "Ok", size, encoding, tuple(names), tuple(rows[:SAMPLE_ROWS]), tuple(notes))


def _names(feed: Feed, bodies: Sequence[Body]) -> list[str]:
    """Headers or paths of the first rows, in order of appearance."""
    stream = feed.protocol.parse(feed, feed.source, bodies)
    for batch in stream.batches:
        if batch.num_rows:
            break
    return [name for name in stream.seen_columns if name != _NOBODY]
