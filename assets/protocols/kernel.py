"""The one shape of every protocol: five functions and the words that they share.

A protocol module says what is peculiar to how an agency speaks: `plan`, `request`, `classify`, `parse`, and `probe` where
change can be seen cheaply. Everything that two protocols share (retrying, paging discipline, quotas, limits, redaction,
completeness) is not here and not there, but once, in `fetching.py`, which drives these functions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeVar

from pydantic import Field, model_validator

from assets.payload import Payload, as_payload
from quality.contract import Strict

if TYPE_CHECKING:
    from assets.feeds.model import Feed
    from assets.tables.rows import RowStream

HEAD_BYTES = TAIL_BYTES = 64 * 1024
"""What `classify` sees of a body: bodies stream and are never held whole."""


# --- outcomes: what a response means (protocols.md 1.1) -----------------------------------------------------------------


@dataclass(frozen=True)
class PageInfo:
    """What a page says of itself. None where the protocol or this response is silent.

    `total`: rows in the whole answer. `page_size`: as the server echoes it. `next_cursor`: opaque, for link, cursor and
    keyset paging; the next request gets it back.
    """

    total: int | None = None
    page_size: int | None = None
    page_number: int | None = None
    next_cursor: str | None = None


@dataclass(frozen=True)
class Ok:
    page: PageInfo = PageInfo()


@dataclass(frozen=True)
class Empty:
    reason: str = ""


@dataclass(frozen=True)
class NotModified:
    reason: str = "304"


@dataclass(frozen=True)
class Pending:
    poll_url: str
    after_s: float


@dataclass(frozen=True)
class RateLimited:
    retry_after_s: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class QuotaExhausted:
    resets_at: datetime | None = None
    reason: str = ""


@dataclass(frozen=True)
class AuthFailed:
    """`mend`: what to do about it, where that is not to look at the key."""

    reason: str
    mend: str = ""


@dataclass(frozen=True)
class BadRequest:
    """`too_large`: the query asks for more than the agency gives at once; `Protocol.split` may make smaller ones of it."""

    reason: str
    too_large: bool = False


@dataclass(frozen=True)
class Gone:
    reason: str


@dataclass(frozen=True)
class Transient:
    reason: str
    retry_after_s: float | None = None


@dataclass(frozen=True)
class Malformed:
    reason: str


Outcome = Ok | Empty | NotModified | Pending | RateLimited | QuotaExhausted | AuthFailed | BadRequest | Gone | Transient | Malformed
RETRIED: tuple[type, ...] = (RateLimited, Transient)
"""Outcomes worth asking again in the same fetch. Malformed is asked once more; all others never (protocols.md 1.1)."""


def outcome_name(outcome: Outcome) -> str:
    """The outcome's word, as the ledger, Dagster and the CLI show it."""
    return type(outcome).__name__


# --- requests and bodies ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    """One request, without secrets in it.

    A secret stands in `url` or a header value as `{secret:NAME}` (the environment variable's name); the transport fills it
    in, percent-encoded once in URLs, at the moment of sending. So a Request can be logged, archived and put in an error.
    """

    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    step: int = 0
    """Which step of the plan this belongs to."""
    page: int = 1
    """Page ordinal within the step, from 1."""
    stamp: str | None = None
    """The step's: kept beside the body as the provider's stamp."""


@dataclass(frozen=True)
class Response:
    """What `classify` sees of a response; its body streams by and is never held whole.

    `headers`: lower-case names. `head`, `tail`: the first and last 64 kB at most of the decoded body; `length`: its size in bytes;
    `complete`: False when the connection ended before the promised length.
    """

    status: int
    headers: Mapping[str, str]
    head: bytes
    tail: bytes
    length: int
    complete: bool = True

    @classmethod
    def of(cls, body: bytes, status: int = 200, headers: Mapping[str, str] | None = None, complete: bool = True) -> Response:
        """Of a body that is in hand."""
        return cls(status, headers or {}, body[:HEAD_BYTES], body[-TAIL_BYTES:], len(body), complete)


@dataclass(frozen=True)
class Body:
    """The archived payload of one Ok response, as `parse` gets it: content-encoding already removed.

    `file`: a local file, or bytes that are in none. `headers`: response headers, lower-case names, last one wins. `url`: redacted.
    """

    file: Path | Payload
    headers: Mapping[str, str]
    url: str
    step: int = 0
    page: int = 1

    @property
    def payload(self) -> Payload:
        """The bytes, to be read without a file where there is none."""
        return as_payload(self.file)

    @property
    def path(self) -> Path:
        """A file that holds them, made where there is none yet: for readers that take nothing else."""
        return self.file.path if isinstance(self.file, Payload) else self.file


@dataclass(frozen=True)
class Step:
    """One independent part of a fetch (a file, a query, a window), paged on its own. `params` are the protocol's own.

    `lead`: its one answer holds no rows, but says what to ask for (`Protocol.follow`). `stamp`: the agency's own version of what
    the step would bring; where all steps have the stamps of the last fetch, none is asked. A lead has a stamp where it leads to
    one step, with that stamp. `wait_s`: how long before it is asked. `splits`: how often the kernel has split what it came of.
    `unready`: a file of a drop that is there and not whole. It is not asked for; where the last fetch had it, the table stays.
    """

    ordinal: int = 0
    params: Mapping[str, Any] = field(default_factory=dict)
    lead: bool = False
    stamp: str | None = None
    wait_s: float = 0.0
    splits: int = 0
    unready: bool = False


@dataclass(frozen=True)
class When:
    """What a fetch is for. `now`: the moment that it is planned for, aware; `partition`: the part of the feed, None for the whole.

    `since`: when the last fetch that got an answer began, less the schedule's look-back; None where there was none.
    """

    now: datetime
    partition: str | None = None
    since: datetime | None = None


@dataclass(frozen=True)
class Cursor:
    """Where the next page starts. The kernel advances `page` and `offset`; `token` is the last page's `next_cursor`."""

    page: int = 1
    offset: int = 0
    token: str | None = None


@dataclass(frozen=True)
class Validators:
    """What the last Ok fetch of the same feed, partition and step left behind for a conditional request."""

    etag: str | None = None
    last_modified: str | None = None
    provider_stamp: str | None = None
    """The provider's own 'updated' field, where the protocol has one."""


# --- the declared part that every protocol shares -----------------------------------------------------------------------


class Auth(Strict):
    """Where the key goes. The key itself is only ever in the environment, under the name `secret`."""

    kind: str = Field("none", pattern="^(none|query_key|header_key|path_key)$")
    name: str | None = Field(None, description="Name of the query parameter or header.")
    secret: str | None = Field(None, pattern=r"^[A-Z][A-Z0-9_]*$", description="Environment variable that holds the key.")
    percent_encoded: bool = Field(
        False, description="Undo one percent-encoding of the key before use (data.go.kr hands out both forms)."
    )


class Limits(Strict):
    """Politeness towards one host, kept across processes by the ledger (protocols.md 1.2, design.md decision 14)."""

    per_second: float | None = Field(None, gt=0)
    per_day: int | None = Field(None, gt=0, description="Daily quota: a budget, not a retry loop.")
    reset: str = Field(
        "00:00 UTC", pattern=r"^\d{2}:\d{2} [A-Za-z_/]+$", description="When the daily quota resets: '00:00 Asia/Seoul'."
    )
    quota: str | None = Field(
        None, description="Name of the quota when several feeds share one; default: the feed's host and path."
    )
    concurrency: int = Field(2, gt=0, le=64)
    pages_at_once: int = Field(
        1,
        gt=0,
        le=64,
        description="Pages asked for at the same time, once the first has told how many there are; `concurrency` at most.",
    )
    max_body_bytes: int = Field(2 * 1024**3, gt=0)
    max_pages: int = Field(10_000, gt=0)
    connect_timeout_s: float = Field(10, gt=0)
    read_timeout_s: float = Field(60, gt=0)
    total_timeout_s: float = Field(3600, gt=0)
    max_attempts: int = Field(5, gt=0, le=20, description="Tries of one request before a Transient answer fails the fetch.")

    @model_validator(mode="after")
    def _within_concurrency(self) -> Limits:
        if self.pages_at_once > self.concurrency:
            raise ValueError("pages_at_once is more than concurrency, which says how many requests may be at the host at once")
        return self


class OneAtATime(Limits):
    """Of agencies that declare no pace, or throttle the nameless together: one request at a time unless the feed says more."""

    concurrency: int = Field(1, gt=0, le=64)


class SeoulDay(Limits):
    """Quotas count by the day in Seoul."""

    reset: str = Field("00:00 Asia/Seoul", pattern=r"^\d{2}:\d{2} [A-Za-z_/]+$", description="When the daily quota resets.")


class Tls(Strict):
    """TLS is always verified; a feed may only add trust or admit old ciphers, never switch verification off."""

    ca_bundle: str | None = Field(None, description="Extra CA certificates (PEM file), beside the system's.")
    legacy: bool = Field(False, description="Admit old ciphers (OpenSSL security level 1) for this host.")


class SourceBase(Strict):
    """What every `source:` block may say, whatever its protocol."""

    protocol: str
    auth: Auth = Auth()
    limits: Limits = Limits()
    tls: Tls = Tls()
    redirect_hosts: tuple[str, ...] = Field((), description="Other hosts that redirects may lead to; private addresses never.")
    allow_private: bool = Field(False, description="The agency's host resolves to a private address (an intranet feed).")

    @property
    def address(self) -> str:
        """The URL that names the source in lists and errors; no secret in it."""
        raise NotImplementedError


# --- the five functions -------------------------------------------------------------------------------------------------

S = TypeVar("S", bound=SourceBase)


class Examined(NamedTuple):
    """What the whole of an Ok body tells. `outcome`: what it means after all; `version`: one that stands in the midst of it.

    `canonical_sha256`: what the protocol's function of that name would say, where one look tells both; None: ask it.
    """

    outcome: Outcome = Ok()
    version: str | None = None
    canonical_sha256: str | None = None


class Protocol(ABC, Generic[S]):
    """How an agency speaks. Stateless: the five functions depend on their arguments alone.

    `paged`: the kernel keeps the paging discipline (protocols.md 1.2) and counts rows; else one response is one step.
    `drop`: a step is a file that lies somewhere. None ready says that nothing is new, not that the table is empty; one with the
    stamp of a body of the last fetch is that body, and is not asked for.
    """

    name: ClassVar[str]
    Source: ClassVar[type[SourceBase]]
    paged: ClassVar[bool] = False
    drop: ClassVar[bool] = False

    @abstractmethod
    def plan(self, feed: Feed, source: S, when: When) -> Iterable[Step]:
        """The independent steps of one fetch, in order; the kernel numbers them."""

    def follow(self, feed: Feed, source: S, step: Step, body: Body) -> Iterable[Step]:
        """The steps that the answer to a lead tells of; asked next. Raises UnreadableSource, nothing else, on hostile bytes."""
        return ()

    def split(self, feed: Feed, source: S, step: Step) -> Iterable[Step]:
        """Smaller steps in place of one that is too large for the agency; none where it cannot be smaller.

        The kernel ends a fetch whose steps do not become smaller by this.
        """
        return ()

    @abstractmethod
    def request(self, feed: Feed, source: S, step: Step, cursor: Cursor, validators: Validators) -> Request:
        """The request for one page. `validators` are empty on every page but the first."""

    @abstractmethod
    def classify(self, source: S, request: Request, response: Response) -> Outcome:
        """What the response means. Pure, total, never raises, on any bytes."""

    @abstractmethod
    def parse(self, feed: Feed, source: S, bodies: Sequence[Body]) -> RowStream:
        """The rows of all Ok bodies of a fetch, in order. Raises UnreadableSource, nothing else, on hostile bytes."""

    def examine(self, source: S, body: Body) -> Examined:
        """What only the whole of an Ok body tells: an archive is damaged, or holds no such table. Never raises."""
        return Examined()

    def redirected(self, why: str) -> Outcome:
        """What a redirect means that may not be followed. Never raises."""
        return BadRequest(why)

    def recognise(self, url: str) -> dict[str, Any] | None:
        """A `source:` block for an address that somebody pasted; None where it is not this protocol's. No key in it is kept."""
        return None

    def probe(self, feed: Feed, source: S, validators: Validators) -> Request | None:
        """A cheap request that shows whether anything changed, or None where the protocol has none."""
        return None

    def canonical_sha256(self, source: S, body: Body) -> str | None:
        """Hex digest of the body without what changes when the data does not (protocols.md 1.5), or None. Never raises."""
        return None

    def provider_stamp(self, source: S, headers: Mapping[str, str], head: bytes) -> str | None:
        """The provider's own 'updated' field of an Ok response, or None. Never raises."""
        return None


def registry() -> dict[str, Protocol[Any]]:
    """Every protocol by name: one per module of this package that defines `PROTOCOL`."""
    import importlib
    import pkgutil

    import assets.protocols as package

    found: dict[str, Protocol[Any]] = {}
    for module in _modules(pkgutil.iter_modules(package.__path__)):
        protocol = getattr(importlib.import_module(f"{package.__name__}.{module}"), "PROTOCOL", None)
        if protocol is not None:
            found[protocol.name] = protocol
    return found


def _modules(infos: Iterable[Any]) -> Iterator[str]:
    return (i.name for i in infos if i.name not in ("kernel", "fetching", "asking", "ahead", "keeping", "kept", "pacing", "assets"))
