"""The stand-in as one ASGI application: routes by Host and path, faults, clock, quotas, the log of requests, and its admin calls.

How a reply is made is `routes.py` and `gateway.py`; how it fails is `faults.py`; how it leaves is `replies.py`.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import parse_qs
from zoneinfo import ZoneInfo

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from deploy.agency import faults, gateway
from deploy.agency.replies import Reply, conditional, etag_of, http_date, send_reply, text
from deploy.agency.routes import FEEDS, Route, Source, load_routes, source_of

SEOUL = ZoneInfo("Asia/Seoul")
ADMIN = "/__agency__/"
LOG_LENGTH = 10_000
_CONTENT_TYPES = {".csv": "text/csv", ".geojson": "application/json; charset=utf-8", ".json": "application/json;charset=UTF-8"}
_LOGGED_HEADERS = frozenset({"user-agent", "if-none-match", "if-modified-since", "range", "if-range"})
_SECRET = re.compile(r"(?i)(servicekey=)[^&]*")


@dataclass(frozen=True)
class AgencyConfig:
    """How to start the stand-in. `data`: folder of real files that replace samples; `today`: the agency's date (default: the
    machine's); `faults`: route id → faults switched on from the start; `key`: the one registered service key.
    """

    data: Path | None = None
    today: date | None = None
    faults: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    key: str = gateway.DEMO_KEY
    feeds: Path = FEEDS
    routes: tuple[Route, ...] | None = None


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
        self.lock = Lock()
        self.offset = timedelta(0)
        self.requests: list[dict[str, Any]] = []
        self.used: Counter[tuple[str, date]] = Counter()
        self.faults: dict[str, list[_Fault]] = {}
        if config.today is not None:
            self.set_clock(datetime.combine(config.today, time(12), SEOUL))
        for route, texts in config.faults.items():
            for one in texts:
                self.switch(route, one)

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
        with self.lock:
            if parsed is None:
                self.faults.pop(route, None)
            else:
                self.faults.setdefault(route, []).append(parsed)

    def find(self, host: str, path: str) -> Route | None:
        return next((r for r in self.routes if r.path == path and r.host == host), None)

    # --- answering ------------------------------------------------------------------------------------------------------

    def reply(self, host: str, path: str, raw_query: str, headers: Mapping[str, str]) -> tuple[Reply, Route | None]:
        """The answer to one request, faults included; counts quotas and faults."""
        route = self.find(host, path)
        if route is None:
            known = any(r.host == host and r.kind == "data_go_kr" for r in self.routes)
            return (text(404, "API not found") if known else Reply(404, {"content-type": "text/html"}, faults.HTML)), None
        asked = self._asked(route, raw_query)
        source = source_of(route, self.now().astimezone(SEOUL).date(), data=self.config.data, feeds=self.config.feeds)
        if source is None:
            return Reply(404, {"content-type": "text/html"}, faults.HTML), route
        reply = self._gateway(route, source, raw_query, asked) if route.kind == "data_go_kr" else _file(source)
        for name, look in asked.items():
            if change := faults.CHANGES.get(name):
                reply = change(reply, look)
        reply = reply.with_headers(madang_origin=source.origin)
        if not faults.UNCONDITIONAL & asked.keys():
            reply = conditional(reply, headers)
        elif "range" in headers:
            reply = conditional(reply, {k: v for k, v in headers.items() if k in ("range", "if-range")})
        return reply, route

    def _asked(self, route: Route, raw_query: str) -> dict[str, faults.Asked]:
        params = parse_qs(raw_query)
        page = params.get("pageNo", ["1"])[0]
        as_json = "json" in (params.get("returnType", [""])[0] + params.get("_type", [""])[0]).lower()
        with self.lock:
            active = self.faults.get(route.id, [])
            for one in active:
                one.count += 1
            number = int(page) if page.isdecimal() else 1
            return {one.name: faults.Asked(one.count, number, one.argument, as_json) for one in active}

    def _gateway(self, route: Route, source: Source, raw_query: str, asked: Mapping[str, faults.Asked]) -> Reply:
        if refused := gateway.refuse_key(raw_query, self.config.key):
            return refused
        day = self.now().astimezone(SEOUL).date()
        with self.lock:
            self.used[route.id, day] += 1
            if self.used[route.id, day] > route.per_day:
                return text(429, gateway.QUOTA)
        rows: list[gateway.Row] = json.loads(source.path.read_bytes())
        if "offset_ignored" in asked:
            raw_query = re.sub(r"(^|&)pageNo=\d+", r"\1pageNo=1", raw_query)
        if "duplicate_rows_between_pages" in asked:
            size = int(parse_qs(raw_query).get("numOfRows", ["10"])[0])
            rows = [rows[i - 1] if i and i % size == 0 else row for i, row in enumerate(rows)]
        cap = asked["page_size_capped"].number(10) if "page_size_capped" in asked else None
        return gateway.answer(route, raw_query, rows, cap=cap)

    def note(self, entry: dict[str, Any]) -> None:
        with self.lock:
            self.requests.append(entry)
            del self.requests[:-LOG_LENGTH]

    # --- the admin calls ------------------------------------------------------------------------------------------------

    def admin(self, method: str, what: str, body: Any) -> Reply:
        """`faults`, `requests` and `clock`; see the docstring of create_app."""
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
        elif (what, method) not in {("faults", "GET"), ("requests", "GET"), ("clock", "GET")}:
            return text(404, "there are faults (GET, POST), clock (GET, POST) and requests (GET, DELETE)")
        with self.lock:
            shown: dict[str, Any] = {
                "faults": {k: [f"{f.name}:{f.argument}" if f.argument else f.name for f in v] for k, v in self.faults.items()},
                "clock": {"now": self.now().isoformat(), "today": self.now().astimezone(SEOUL).date().isoformat()},
                "requests": {"counts": dict(Counter(r["route"] or "none" for r in self.requests)), "requests": list(self.requests)},
            }
        return Reply(200, {"content-type": "application/json"}, json.dumps(shown[what], ensure_ascii=False).encode())


def _file(source: Source) -> Reply:
    body = source.path.read_bytes()
    headers = {
        "content-type": _CONTENT_TYPES.get(source.path.suffix, "application/octet-stream"),
        "last-modified": http_date(source.modified),
        "etag": etag_of(body),
        "accept-ranges": "bytes",
    }
    return Reply(200, headers, body)


def create_app(config: AgencyConfig | None = None) -> Starlette:
    """The application; `app.state.agency` is its memory.

    Admin, from loopback only: POST /__agency__/faults {"route", "fault" (null: all off)} · POST /__agency__/clock {"now"} or
    {"advance_s"} · GET or DELETE /__agency__/requests.
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
        if request.method not in ("GET", "HEAD"):
            reply, route = text(405, "only GET and HEAD").with_headers(allow="GET, HEAD"), None
        else:
            reply, route = agency.reply(host, path, raw_query, headers)
        if "madang-origin" not in reply.headers:
            reply = reply.with_headers(madang_origin="synthetic")
        entry = {
            "at": agency.now().isoformat(),
            "method": request.method,
            "host": host,
            "path": path,
            "query": _SECRET.sub(r"\1***", raw_query),
            "route": route.id if route else None,
            "status": reply.status,
            "headers": {k: v for k, v in headers.items() if k in _LOGGED_HEADERS},
        }
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
        body = json.loads(await request.body() or b"{}")
        return agency.admin(request.method, path.removeprefix(ADMIN), body)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        return replace(text(400, str(error)))


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
