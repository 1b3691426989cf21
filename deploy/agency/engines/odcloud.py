"""odcloud over the rows of a JSON list: conditions, pages, editions, POST services, and its own errors (protocols.md 2.3)."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from deploy.agency.engine import Asked, Engine, Row, json_reply, rows_of
from deploy.agency.engines.data_go_kr import QUOTA
from deploy.agency.replies import Reply, text
from quality.contract import Strict

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.agency.routes import Route, Source

UNKNOWN_KEY = {"code": -4, "msg": "등록되지 않은 인증키 입니다."}
UNKNOWN_SERVICE = {"code": -3, "msg": "등록되지 않은 서비스 입니다."}
INVALID_KEY = {"code": -401, "msg": "유효하지 않은 인증키 입니다."}
SWAGGER = "/oas/docs"


class OdcloudOptions(Strict):
    """What is peculiar to one service."""

    editions: dict[str, str] = Field(default_factory=dict, description="uddi → title; the route's path is then all below the host.")
    namespace: str = ""
    post: str | None = Field(None, description="Name of the list in the body of a POST service, and of the field that it asks for.")
    literal_brackets: bool = Field(False, description="Whether encoded brackets in cond[…] are refused.")


class Odcloud(Engine):
    """Pages of `data`, for those who bring the key in the query or the header."""

    name: ClassVar[str] = "odcloud"
    Options: ClassVar[type[Strict]] = OdcloudOptions
    PREFIX: ClassVar[bool] = True
    METHODS: ClassVar[tuple[str, ...]] = ("GET", "HEAD", "POST")
    SECRETS: ClassVar[tuple[str, ...]] = (r"(?i)(servicekey=)([^&]*)",)
    FAULTS: ClassVar[frozenset[str]] = frozenset(
        {
            "page_size_capped", "offset_ignored", "duplicate_rows_between_pages", "total_changes_mid_crawl",
            "code_with_data", "invalid_key", "service_retired", "no_data",
        }
    )  # fmt: skip

    def answer(self, route: Route, source: Source, asked: Asked) -> Reply:
        options = route.settings
        assert isinstance(options, OdcloudOptions)
        if asked.path == SWAGGER:
            return swagger(options)
        given = asked.params.get("serviceKey") or asked.headers.get("authorization", "").removeprefix("Infuser ")
        if given != asked.key or "%25" in asked.raw_query.partition("serviceKey=")[2].partition("&")[0]:
            return json_reply(UNKNOWN_KEY, 401)
        if asked.fault("invalid_key"):
            return json_reply(INVALID_KEY, 401)
        if not asked.spend():
            return text(429, QUOTA)
        known = {f"/api/{options.namespace}/{uddi}" for uddi in options.editions} or {route.path}
        if asked.path not in known or asked.fault("service_retired"):
            return json_reply(UNKNOWN_SERVICE, 404)
        if options.literal_brackets and "%5B" in asked.raw_query:
            return json_reply({"code": -2, "msg": "잘못된 조건입니다."}, 400)
        rows = [] if asked.fault("no_data") else list(rows_of(source))
        return posted(rows, options, asked) if options.post else page(rows, asked)


def swagger(options: OdcloudOptions) -> Reply:
    paths = {f"/{options.namespace}/{uddi}": {"get": {"summary": title}} for uddi, title in options.editions.items()}
    return json_reply({"swagger": "2.0", "info": {"title": "자료"}, "paths": paths})


def matching(rows: list[Row], params: dict[str, str]) -> list[Row]:
    """The rows that meet every condition; numbers are compared as numbers where both are."""
    tests: dict[str, Callable[[Any, Any], bool]] = {
        "EQ": lambda a, b: a == b, "LIKE": lambda a, b: str(b) in str(a), "LT": lambda a, b: a < b,
        "LTE": lambda a, b: a <= b, "GT": lambda a, b: a > b, "GTE": lambda a, b: a >= b,
    }  # fmt: skip
    for name, value in params.items():
        if found := re.fullmatch(r"cond\[(.+)::([A-Z]+)\]", name):
            column, test = found[1], tests[found[2]]
            rows = [row for row in rows if test(str(row.get(column) or ""), value)]
    return rows


def page(rows: list[Row], asked: Asked) -> Reply:
    params = asked.params
    number, size = int(params.get("page", "1")), int(params.get("perPage", "10"))
    found = matching(rows, params)
    if capped := asked.fault("page_size_capped"):
        size = min(size, capped.number(10))
    if asked.fault("duplicate_rows_between_pages"):
        found = [found[i - 1] if i and i % size == 0 else row for i, row in enumerate(found)]
    start = 0 if asked.fault("offset_ignored") else (number - 1) * size
    data, total = found[start : start + size], len(found)
    if (changed := asked.fault("total_changes_mid_crawl")) and number > 1 and changed.count <= changed.number(2):
        total += number
    whole = {"page": number, "perPage": size, "totalCount": len(rows), "matchCount": total, "currentCount": len(data), "data": data}
    return json_reply(whole | ({"code": -4} if asked.fault("code_with_data") else {}))


def posted(rows: list[Row], options: OdcloudOptions, asked: Asked) -> Reply:
    assert options.post is not None
    try:
        wanted = json.loads(asked.body)[options.post]
    except (ValueError, KeyError, TypeError):
        wanted = None
    if asked.method != "POST" or not isinstance(wanted, list) or not 0 < len(wanted) <= 100:
        return json_reply({"status_code": "REQUEST_DATA_MALFORMED"}, 400)
    by_value = {str(row.get(options.post)): row for row in rows}
    data = [by_value.get(value, {options.post: value}) for value in wanted]
    return json_reply({"request_cnt": len(wanted), "status_code": "OK", "data": data})


ENGINE = Odcloud()
