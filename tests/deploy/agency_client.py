"""A client of the stand-in agency, for its tests."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree

import pytest

from assets.feeds.load import FOLDER
from deploy.agency import DEMO_KEY, running_agency
from deploy.agency.routes import load_routes

FILES = [r for r in load_routes() if r.kind == "file"]
AIRPORTS = "us.faa.airports"
WTI = "us.eia.wti_daily"
AIR = "kr.airkorea.sido_hourly"
GATEWAY = "/B552584/ArpltnInforInqireSvc/getCtprvnRltmMesureDnsty"


@dataclass(frozen=True)
class Got:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Client:
    base: str

    def ask(self, host: str, target: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Got:
        """One request as bytes say it: no redirect is followed, no encoding undone, no query rewritten."""
        port = urlsplit(self.base).port
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            named = {"Host": host, **{k.replace("_", "-"): v for k, v in headers.items()}}
            connection.request(method, target, body=body, headers=named)
            answer = connection.getresponse()
            return Got(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def file(self, feed: str, method: str = "GET", **headers: str) -> Got:
        route = next(r for r in FILES if r.id == feed)
        return self.ask(route.host, route.path, method, **headers)

    def air(self, page: int = 1, size: int = 100, *, key: str | None = None, extra: str = "&returnType=json") -> Got:
        key = quote(DEMO_KEY, safe="") if key is None else key
        query = f"serviceKey={key}&sidoName={quote('전국')}&pageNo={page}&numOfRows={size}{extra}"
        return self.ask("apis.data.go.kr", f"{GATEWAY}?{query}")

    def admin(self, what: str, **body: Any) -> Got:
        method = "POST" if body else "GET"
        return self.ask("127.0.0.1", f"/__agency__/{what}", method, json.dumps(body).encode() if body else None)

    def fault(self, feed: str, fault: str | None) -> None:
        assert self.admin("faults", route=feed, fault=fault).status == 200


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    with running_agency() as url:
        yield url


@pytest.fixture
def client(base: str) -> Iterator[Client]:
    one = Client(base)
    yield one
    for route in load_routes():
        one.fault(route.id, None)


def sample(feed: str) -> bytes:
    return next(p for p in (FOLDER / feed).glob("sample.*") if p.name.count(".") == 1 or p.suffix == ".gz").read_bytes()


def code_of(got: Got) -> str | None:
    return ElementTree.fromstring(got.body).findtext("cmmMsgHeader/returnReasonCode")
