"""A feed on the data.go.kr gateway, its answers, and what they are judged to be and to hold; for the tests of data_go_kr."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from assets.feeds.model import Feed
from assets.protocols.data_go_kr import PROTOCOL
from assets.protocols.kernel import Body, Outcome, Request, Response
from tests.protocols.standin_scene import feed_for

BASE = "https://apis.data.go.kr/B552584/ArpltnInforInqireSvc"


def feed_of(source: dict[str, Any] | None = None, columns: tuple[str, ...] = ("a", "b"), **contract: Any) -> Feed:
    declared = {"protocol": "data_go_kr", "base_url": BASE, "operation": "op"} | (source or {})
    return feed_for(declared, (), contract={"columns": [{"name": c} for c in columns]} | contract)


def classify(
    body: bytes | str, status: int = 200, source: dict[str, Any] | None = None, page: int = 1, complete: bool = True
) -> Outcome:
    raw = body.encode() if isinstance(body, str) else body
    declared = feed_of(source).source
    return PROTOCOL.classify(declared, Request(BASE, page=page), Response.of(raw, status, {}, complete))


def rows_of(tmp_path: Path, *pages: bytes, columns: tuple[str, ...] = ("a", "b"), **contract: Any) -> list[tuple[str | None, ...]]:
    bodies = []
    for i, page in enumerate(pages, 1):
        path = tmp_path / f"page-{i}"
        path.write_bytes(page)
        bodies.append(Body(path, {}, BASE, page=i))
    feed = feed_of(columns=columns, **contract)
    stream = PROTOCOL.parse(feed, feed.source, bodies)
    out = []
    for batch in stream.batches:
        out += list(zip(*[c.to_pylist() for c in batch.columns[: len(columns) + 1]], strict=True))
    assert len(out) == stream.records_read
    return out


def envelope(items: Any, total: Any = 2, size: Any = 10, page: Any = 1, code: str = "00") -> str:
    body = {"dataType": "JSON", "items": items, "pageNo": page, "numOfRows": size, "totalCount": total}
    return json.dumps({"response": {"header": {"resultCode": code, "resultMsg": "NORMAL_SERVICE"}, "body": body}})


def gateway_xml(code: str, word: str = "X") -> str:
    return (
        "<OpenAPI_ServiceResponse><cmmMsgHeader>\n <errMsg>SERVICE ERROR</errMsg>\n"
        f" <returnAuthMsg>{word}</returnAuthMsg>\n <returnReasonCode>{code}</returnReasonCode>\n"
        "</cmmMsgHeader></OpenAPI_ServiceResponse>"
    )
