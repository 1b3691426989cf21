"""The stand-in as one ASGI application: routes by Host and path, faults, clock, quotas, the log of requests, and its admin calls.

What is served where is `routes.py`, how a protocol answers `engines/`; how it fails is `faults.py`; how it leaves is `replies.py`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from deploy.agency import faults, row_faults
from deploy.agency.doors import Door, Visit, open_door
from deploy.agency.engine import DEMO_KEY, Asked, Fault
from deploy.agency.faults import FLAWS, Flaw
from deploy.agency.replies import Reply, conditional, send_reply, text
from deploy.agency.routes import ENGINES, FEEDS, Route, Source, load_routes, source_of
from deploy.agency.row_faults import Edits
from deploy.agency.tape import ABSENT, Tape

if TYPE_CHECKING:
    from deploy.agency.tls import Certificates

SEOUL = ZoneInfo("Asia/Seoul")
ADMIN = "/__agency__/"
LOG_LENGTH = 10_000
_LOGGED_HEADERS = frozenset({"user-agent", "if-none-match", "if-modified-since", "range", "if-range"})
_SECRETS = [re.compile(pattern) for engine in ENGINES.values() for pattern in engine.SECRETS]


@dataclass(frozen=True)
class AgencyConfig:
    """How to start the stand-in. `data`: folder of real files that replace samples; `today`: the agency's date (default: the
    machine's); `faults`: route id → faults switched on from the start; `key`: the one registered service key.

    `tapes`: WARC files, or folders of them, that answer for the hosts that are on them, each the route `tape.<host>`;
    `tape_ignore`: parameters by which requests to them are not compared; `routes`: in place of those that are shipped.
    """

    data: Path | None = None
    today: date | None = None
    faults: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    key: str = DEMO_KEY
    feeds: Path = FEEDS
    routes: tuple[Route, ...] | None = None
    tapes: tuple[Path, ...] = ()
    tape_ignore: tuple[str, ...] = ()


@dataclass
class _Fault:
    name: str
    argument: str | None
    count: int = 0


class Agency:
    """What the application remembers while it runs. Safe to use from the server's thread and a test's."""

    def __init__(self, config: AgencyConfig) -> None:
        self.config = config
        self.routes = config.routes if config.routes is not None else load_routes()
        self.tape = Tape(config.tapes, config.tape_ignore, _masked) if config.tapes else None
        if self.tape is not None:
            # One host, one server: where a tape answers, no engine does.
            taped = tuple(Route(id=f"tape.{host}", kind="tape", host=host, path="/") for host in self.tape.hosts)
            self.routes = (*taped, *(r for r in self.routes if r.scheme != "http" or r.host not in self.tape.hosts))
        self.lock = Lock()
        self.offset = timedelta(0)
        self.requests: list[dict[str, Any]] = []
        self.not_on_tape = 0
        self.used: Counter[tuple[str, date]] = Counter()
        self.faults: dict[str, list[_Fault]] = {}
        self.memories: defaultdict[str, dict[str, Any]] = defaultdict(dict)
        self.certificates: Certificates | None = None
        self.doors: dict[tuple[str, str], Door] = {}
        self._closed = False
        if config.today is not None:
            self.set_clock(datetime.combine(config.today, time(12), SEOUL))
        try:
            for route, texts in config.faults.items():
                for one in texts:
                    self.switch(route, one)
        except ValueError:
            self.close()
            raise

    def now(self) -> datetime:
        return datetime.now(UTC) + self.offset

    def set_clock(self, moment: datetime) -> None:
        self.offset = moment.astimezone(UTC) - datetime.now(UTC)

    def switch(self, route: str, fault: str | None) -> None:
        """Switch one more fault on, or all of a route's off with None. Raises ValueError naming what there is."""
        known = [r.id for r in self.routes]
        if route not in known:
            raise ValueError(f"'{route}' is no route; there are: {', '.join(known)}")
        parsed = None if fault is None else _Fault(*faults.parse_fault(fault))
        if parsed is not None and parsed.name in faults.OF_TLS and self.certificates is None:
            raise ValueError(f"'{parsed.name}' needs the stand-in to speak TLS (running_agency with a folder for certificates)")
        with self.lock:
            if parsed is None:
                self.faults.pop(route, None)
            else:
                self.faults.setdefault(route, []).append(parsed)

    def flaw(self, host: str) -> Flaw:
        """What is wrong with the certificate that this host shows: `tls_bad_cert` of one of its routes."""
        with self.lock:
            switched = [f for r in self.routes if r.host == host for f in self.faults.get(r.id, []) if f.name == "tls_bad_cert"]
        return FLAWS[(int(switched[0].argument or 1) - 1) % len(FLAWS)] if switched else "good"

    def find(self, host: str, path: str, scheme: str = "http") -> Route | None:
        """The route whose address is the longest that fits."""
        fitting = [r for r in self.routes if r.scheme == scheme and r.serves(host, path)]
        return max(fitting, key=lambda r: len(r.path), default=None)

    # --- answering ------------------------------------------------------------------------------------------------------

    def reply(
        self,
        method: str,
        host: str,
        path: str,
        raw_query: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        scheme: str = "http",
        raw_path: str = "",
    ) -> tuple[Reply, Route | None]:
        """The answer to one request, faults included; counts quotas and faults. `raw_path`: where `path` was decoded from it."""
        route = self.find(host, path, scheme)
        if route is None and self.tape is not None and not any(r.host == host for r in self.routes):
            return self.tape.unknown(host), None
        if route is None:
            known = any(r.host == host and r.kind == "data_go_kr" for r in self.routes)
            return (text(404, "API not found") if known else _not_found()), None
        if method not in route.engine.METHODS:
            return text(405, f"only {', '.join(route.engine.METHODS)}").with_headers(allow=", ".join(route.engine.METHODS)), route
        now = self.now().astimezone(SEOUL)
        source = self.source(route)
        if source is None:
            return _not_found(), route
        active = self._active(route)
        edits = Edits({n: f for n, f in active.items() if n in row_faults.NAMES and n not in route.engine.FAULTS})
        source = replace(source, edit=edits)
        asked = Asked(
            method,
            host,
            path,
            raw_query,
            headers,
            body,
            now,
            self.config.key,
            active,
            self.memories[route.id],
            lambda: self._spend(route),
            raw_path,
        )
        for name in active.keys() & faults.ARRIVALS.keys():
            asked = faults.ARRIVALS[name](asked)
        reply = route.engine.answer(route, source, asked)
        origin = reply.headers.get("madang-origin", source.origin)
        for name, fault in active.items():
            # An engine commits its own faults, by the same names where they have a form of their own.
            of_rows = edits.taken and name in row_faults.NAMES
            if name not in route.engine.FAULTS and not of_rows and (change := faults.CHANGES.get(name)):
                reply = change(reply, asked, fault)
        reply = reply.with_headers(madang_origin=origin)
        if not faults.UNCONDITIONAL & active.keys():
            reply = conditional(reply, headers)
        elif "range" in headers:
            reply = conditional(reply, {k: v for k, v in headers.items() if k in ("range", "if-range")})
        return reply, route

    def source(self, route: Route) -> Source | None:
        """What lies behind the route on this day in Seoul."""
        now = self.now().astimezone(SEOUL)
        if route.kind == "tape":
            return Source(Path(), now, "synthetic", tape=self.tape)
        return source_of(route, now.date(), data=self.config.data, feeds=self.config.feeds)

    def _active(self, route: Route) -> dict[str, Fault]:
        with self.lock:
            # Two feeds over one address have two routes, and one server behind them.
            twins = [r.id for r in self.routes if (r.host, r.path) == (route.host, route.path)]
            switched = [one for twin in twins for one in self.faults.get(twin, [])]
            for one in switched:
                one.count += 1
            return {one.name: Fault(one.count, one.argument) for one in switched}

    def _spend(self, route: Route) -> bool:
        day = self.now().astimezone(SEOUL).date()
        with self.lock:
            self.used[route.id, day] += 1
            return self.used[route.id, day] <= route.per_day

    def note(self, entry: dict[str, Any]) -> None:
        with self.lock:
            self.not_on_tape += entry.get("note") == ABSENT
            self.requests.append(entry)
            del self.requests[:-LOG_LENGTH]

    def drop(self, url: str) -> dict[str, Any]:
        """Where the files of a folder that HTTP does not reach are got: the port of its server, opened now if it is not yet.

        `host_key`: the server's fingerprint; `plain`: without TLS; `origin`: of the folder's rows. Without a port: unknown here.
        """
        parts = urlsplit(url)
        scheme, host = "ftp" if parts.scheme == "ftps" else parts.scheme, parts.hostname or ""
        path = unquote(parts.path, errors="surrogateescape")
        path = f"/{path.removeprefix('/~').strip('/')}"
        route = self.find(host, path, scheme) if scheme != "http" else None
        if route is None and not any(r.scheme == scheme != "http" and r.host == host for r in self.routes):
            return {"port": None}
        source = self.source(route) if route else None
        with self.lock:
            # Two collectors may ask at once; one server is opened.
            if self._closed:
                return {"port": None}
            door = self.doors.get((scheme, host))
            if door is None:
                door = self.doors[scheme, host] = open_door(Visit(self, scheme, host))
        return {"port": door.port, "host_key": door.host_key, "plain": True, "origin": source.origin if source else "synthetic"}

    def close(self) -> None:
        """Close the doors. HTTP is closed by whoever runs it."""
        with self.lock:
            self._closed = True
            doors, self.doors = self.doors, {}
        for door in doors.values():
            door.close()
        if self.tape is not None:
            self.tape.close()

    # --- the admin calls ------------------------------------------------------------------------------------------------

    def admin(self, method: str, what: str, body: Any) -> Reply:
        """`faults`, `requests`, `clock` and `tape`; see the docstring of create_app."""
        if what == "faults" and method == "POST":
            self.switch(str(body.get("route")), body.get("fault"))
        elif what == "clock" and method == "POST":
            if "advance_s" in body:
                self.offset += timedelta(seconds=float(body["advance_s"]))
            else:
                moment = datetime.fromisoformat(body["now"])
                self.set_clock(moment if moment.tzinfo else moment.replace(tzinfo=SEOUL))
        elif what == "requests" and method == "DELETE":
            with self.lock:
                self.requests.clear()
                self.not_on_tape = 0
        elif what == "tape" and method == "POST":
            self._rewind(body["rewind"])
        elif (what, method) not in {("faults", "GET"), ("requests", "GET"), ("clock", "GET"), ("tape", "GET")}:
            return text(
                404, "there are faults (GET, POST), clock (GET, POST), requests (GET, DELETE), tape (GET, POST) and drops (GET)"
            )
        with self.lock:
            shown = self._shown(what)
        return Reply(200, {"content-type": "application/json"}, json.dumps(shown, ensure_ascii=False).encode())

    def _shown(self, what: str) -> dict[str, Any]:
        """The one view that is asked for: a log of ten thousand requests is copied for nobody who asks for the clock."""
        if what == "faults":
            return {k: [f"{f.name}:{f.argument}" if f.argument else f.name for f in v] for k, v in self.faults.items()}
        if what == "clock":
            return {"now": self.now().isoformat(), "today": self.now().astimezone(SEOUL).date().isoformat()}
        if what == "requests":
            counts = dict(Counter(r["route"] or "none" for r in self.requests))
            return {"counts": counts, "not_on_tape": self.not_on_tape, "requests": list(self.requests)}
        return self.tape.as_json() if self.tape is not None else {}

    def _rewind(self, route: str | None) -> None:
        """One route's tape, or all of it with None. Raises ValueError naming what there is."""
        taped = [r for r in self.routes if r.kind == "tape"]
        host = next((r.host for r in taped if r.id == route), None)
        if self.tape is None or (route is not None and host is None):
            raise ValueError(f"'{route}' is no route of a tape; there are: {', '.join(r.id for r in taped) or 'none'}")
        self.tape.rewind(host)


def _not_found() -> Reply:
    return Reply(404, {"content-type": "text/html"}, faults.HTML)


def _masked(target: str) -> str:
    """A path or query without the keys that engines know of."""
    for secret in _SECRETS:
        target = secret.sub(r"\1***", target)
    return target


def create_app(config: AgencyConfig | None = None) -> Starlette:
    """The application; `app.state.agency` is its memory.

    Admin, from loopback only: POST /__agency__/faults {"route", "fault" (null: all off)} · POST /__agency__/clock {"now"} or
    {"advance_s"} · GET or DELETE /__agency__/requests · GET /__agency__/tape, POST {"rewind": route (null: all)} ·
    GET /__agency__/drops?url=sftp://… (where that is answered).
    """
    agency = Agency(config or AgencyConfig())

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        headers = {k.lower(): v for k, v in request.headers.items()}
        host = headers.get("host", "").partition(":")[0].lower()
        path, raw_query = scope["path"], scope["query_string"].decode("latin-1")
        if path.startswith(ADMIN):
            await send_reply(await _admin(agency, request, host, path), scope, send)
            return
        raw_path = (scope.get("raw_path") or b"").decode("latin-1")
        reply, route = agency.reply(request.method, host, path, raw_query, headers, await request.body(), raw_path=raw_path)
        if "madang-origin" not in reply.headers:
            reply = reply.with_headers(madang_origin="synthetic")
        if agency.tape is not None:
            path, raw_query = agency.tape.masked(headers.get("host", host), raw_path, raw_query)
            path = unquote(path)
        entry: dict[str, Any] = {
            "at": agency.now().isoformat(),
            "method": request.method,
            "host": host,
            "path": _masked(path),
            "query": _masked(raw_query),
            "route": route.id if route else None,
            "status": reply.status,
            "headers": {k: v for k, v in headers.items() if k in _LOGGED_HEADERS},
        }
        if reply.note:
            entry["note"] = reply.note
        agency.note(entry)
        entry["bytes"] = await send_reply(reply, scope, send)

    app = Starlette()
    app.state.agency = agency
    app.mount("/", answer)
    return app


async def _admin(agency: Agency, request: Request, host: str, path: str) -> Reply:
    # A browser page elsewhere could reach loopback under its own name: both the peer and the name must be local.
    peer = request.client.host if request.client else ""
    if not _is_loopback(peer) or not (host == "localhost" or _is_loopback(host)):
        return text(403, "Forbidden")
    try:
        if path == f"{ADMIN}drops" and request.method == "GET":
            told = await asyncio.to_thread(agency.drop, request.query_params.get("url", ""))
            return Reply(200, {"content-type": "application/json"}, json.dumps(told).encode())
        body = json.loads(await request.body() or b"{}")
        return agency.admin(request.method, path.removeprefix(ADMIN), body)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        return replace(text(400, str(error)))


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
