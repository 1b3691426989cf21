"""What an agency may get wrong, case by case, and what each ends in: the table that `test_bad_input.py` runs.

Answers and declarations only; running a feed and looking at what it left is the test's.
"""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.loopback import Answer

PERSONAL = "홍길동-7731"
"""A value of a row: it may lie in the archive, the tables and the quarantine, and nowhere else."""
KEY = "key+of/the-agency=="
HEADER = "code,name,day,visitors"
GOOD_LINES = [f"c{n:02},이름{n},2024-01-{n:02} 10:00,{n * 10}" for n in range(1, 21)]


def lines(*replaced: str, header: str = HEADER, rest: list[str] = GOOD_LINES) -> str:
    """A file whose first records are these and whose others are good."""
    return "\n".join([header, *replaced, *rest[len(replaced) :]]) + "\n"


def text(body: str, encoding: str = "utf-8", **headers: str) -> Answer:
    return Answer(body.encode(encoding), headers={"Content-Type": "text/csv", **headers})


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in members.items():
            archive.writestr(name.replace("__", "/").replace("DOTS", ".."), body)
    return out.getvalue()


def xml(rows: list[str], before: str = "") -> Answer:
    items = "".join(
        "<row>" + "".join(f"<{k}>{v}</{k}>" for k, v in zip(HEADER.split(","), row.split(","), strict=True)) + "</row>"
        for row in rows
    )
    return Answer(f'<?xml version="1.0" encoding="UTF-8"?>{before}<rows>{items}</rows>'.encode())


def page(rows: list[str]) -> Answer:
    items = [dict(zip(HEADER.split(","), row.split(","), strict=True)) for row in rows]
    body = {"items": items, "numOfRows": 100, "pageNo": 1, "totalCount": len(rows)}
    whole = {"response": {"header": {"resultCode": "00", "resultMsg": "NORMAL_CODE"}, "body": body}}
    return Answer(json.dumps(whole, ensure_ascii=False).encode(), headers={"Content-Type": "application/json"})


GOOD = text(lines())
NEWS = text(lines("c01,이름1,2024-01-01 10:00,77"))
"""The next good file: one number was revised."""
NO_KEY = b"""<OpenAPI_ServiceResponse><cmmMsgHeader><errMsg>SERVICE ERROR</errMsg>
<returnAuthMsg>SERVICE_KEY_IS_NOT_REGISTERED_ERROR</returnAuthMsg><returnReasonCode>30</returnReasonCode></cmmMsgHeader>
</OpenAPI_ServiceResponse>"""
PACKED = gzip.compress(lines().encode(), mtime=0)
COLUMNS: list[dict[str, Any]] = [
    {"name": "code", "type": "string", "nullable": False, "pattern": "c[0-9]{2}"},
    {"name": "name", "type": "string", "nullable": False},
    {"name": "day", "type": "timestamp", "format": "%Y-%m-%d %H:%M", "nullable": False},
    {"name": "visitors", "type": "integer", "nullable": True, "min": 0},
]
GATEWAY = {
    "protocol": "data_go_kr",
    "base_url": "http://{host}/service",
    "operation": "rows",
    "url": None,
    "format": {"param": "type"},
}
ZIP, GZ = {"url": "http://{host}/rows.zip"}, {"url": "http://{host}/rows.csv.gz"}
XML = {"url": "http://{host}/rows.xml", "format": "xml", "records_path": "rows/row"}


@dataclass(frozen=True)
class Case:
    """One promise. `answers`: what the host gives, in order, the last one again for ever; `good`: what it gave before.

    `outcome`: of the fetch, None where none is recorded. `says`: what the run's one sentence holds; empty: the run succeeds.
    `aside`: rows set aside by rule; `checks`: Dagster checks that fail by name; `requests`: how often the host was asked.
    """

    name: str
    answers: tuple[Answer, ...]
    outcome: str | None = "Ok"
    says: tuple[str, ...] = ()
    aside: Mapping[str, int] = field(default_factory=dict)
    checks: tuple[str, ...] = ()
    requests: int = 1
    good: Answer = GOOD
    source: Mapping[str, Any] = field(default_factory=dict)
    feed: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    live: int = 20

    @property
    def id(self) -> str:
        return f"test.bad.{self.name}"

    @property
    def host(self) -> str:
        return f"{self.name.replace('_', '-')}.agency.test"

    def declaration(self) -> dict[str, Any]:
        source = {"protocol": "http_file", "url": "http://{host}/rows.csv", "format": "csv", "limits": {"max_attempts": 2}}
        source = {k: v.replace("{host}", self.host) if isinstance(v, str) else v for k, v in {**source, **self.source}.items()}
        return {
            "id": self.id,
            "title": "Visitors",
            "agency": {"name": "Agency", "country": "US"},
            "licence": {"id": "US-PD", "url": "https://agency.test/licence"},
            "documentation": "https://agency.test/about-the-file",
            "schedule": {"cron": "0 3 * * *", "timezone": "Asia/Seoul"},
            "source": {k: v for k, v in source.items() if v is not None},
            "contract": {
                "key": ["code"],
                "max_quarantine": 0.1,
                "columns": [{**column, **self.columns.get(column["name"], {})} for column in COLUMNS],
            },
            **self.feed,
        }


def bad(row: str) -> tuple[Answer, ...]:
    """A good file but for its first record."""
    return (text(lines(row)),)


NO_ROWS = ("row_count_at_least", "table_row_count_to_be_between")
CUT = Answer(lines().encode(), send=200)
KOREAN = {"agency": {"name": "기관", "country": "KR"}}
EXTERNAL = '<!DOCTYPE rows [<!ENTITY planted SYSTEM "file://{planted}">]>'

CASES = (
    # --- a table whose records are not what the header promises -----------------------------------------------------------
    Case("one_ragged_row", bad(f"c01,{PERSONAL},2024-01-01 10:00"), aside={"record": 1}, live=19),
    Case(
        "many_ragged_rows",
        (text(lines(*["c01,x"] * 5)),),
        says=("quarantine_within_bound failed", "the table keeps its last good version"),
        checks=("quarantine_within_bound",),
    ),
    Case(
        "wrong_delimiter",
        (text(lines().replace(",", ";")),),
        says=("a semicolon is likely the delimiter", r"set source\.csv\.delimiter: ';'"),
    ),
    Case("nul_in_a_record", bad(f"c01,{PERSONAL}\0,2024-01-01 10:00,5"), aside={"record": 1}, live=19),
    Case(
        "quote_never_closed",
        bad(f'c01,"{PERSONAL},2024-01-01 10:00,5'),
        says=("a quote that opens in record 1 is never closed",),
    ),
    Case(
        "column_renamed",
        (text(lines(header="code,name,day,people")),),
        says=("column 'visitors' missing", "'people'"),
    ),
    Case("a_key_twice", (text(lines(*GOOD_LINES[:2], *GOOD_LINES[:1])),), aside={"duplicate_row": 1}, live=19),
    Case(
        "a_key_with_two_contents",
        (text(lines(GOOD_LINES[0], f"c01,{PERSONAL},2024-01-01 10:00,9")),),
        aside={"key_conflict": 2},
        live=18,
    ),
    # --- encodings --------------------------------------------------------------------------------------------------------
    Case(
        "cp949_declared_utf8",
        (text(lines(), "cp949"),),
        says=("the text cannot be decoded: not utf-8", r"line 2", "decode.encoding"),
        feed={"decode": {"encoding": "utf-8"}},
    ),
    Case("cp949_of_a_korean_agency", (text(lines(), "cp949"),), feed={**KOREAN, "decode": {"encoding": "utf-8"}}),
    Case("utf8_declared_cp949", (NEWS,), feed={"decode": {"encoding": "cp949"}}),
    # --- something else in place of the file ------------------------------------------------------------------------------
    Case("empty_file", (Answer(b""),), "Malformed", ("Malformed: empty file",), requests=2),
    Case(
        "html_with_200",
        (Answer(b"<!DOCTYPE html><html><body>Please log in</body></html>", headers={"Content-Type": "text/csv"}),),
        "Malformed",
        ("an HTML page in place of csv",),
        requests=2,
    ),
    Case("header_alone", (text(HEADER + "\n"),), says=("row_count_at_least",), checks=NO_ROWS),
    Case("shrunk", (text(lines(rest=GOOD_LINES[:5])),), says=("shrink_guard failed",), checks=("shrink_guard",)),
    # --- containers -------------------------------------------------------------------------------------------------------
    Case(
        "truncated_gzip_file",
        (Answer(PACKED[: len(PACKED) // 2]),),
        says=("the gzip file is truncated",),
        good=Answer(PACKED),
        source=GZ,
    ),
    Case(
        "truncated_gzip_encoding",
        (Answer(PACKED[: len(PACKED) // 2], headers={"Content-Encoding": "gzip"}),),
        "Transient",
        ("Transient: ",),
        requests=2,
    ),
    Case(
        "zip_that_climbs_out",
        (Answer(zipped(DOTS__DOTS__etc__rows=lines().encode())),),
        says=("the ZIP has a member whose name leads outside it",),
        good=Answer(zipped(rows=lines().encode())),
        source=ZIP,
    ),
    Case(
        "zip_that_unpacks_a_thousandfold",
        (Answer(zipped(rows=(lines() + "c99,x,2024-01-01 10:00,0\n" * 4_000_000).encode())),),
        says=("unpacks to more than 200 times its size", r"source\.unpacking\.max_ratio"),
        good=Answer(zipped(rows=lines().encode())),
        source=ZIP,
    ),
    Case(
        "zip_damaged",
        (Answer(zipped(rows=lines().encode())[:150]),),
        says=("no readable ZIP archive",),
        good=Answer(zipped(rows=lines().encode())),
        source=ZIP,
    ),
    Case(
        "xml_with_external_entity",
        (xml(["c01,&planted;,2024-01-01 10:00,5", *GOOD_LINES[1:]], EXTERNAL),),
        says=("the XML declares entities, which are never expanded",),
        good=xml(GOOD_LINES),
        source=XML,
    ),
    Case(
        "xml_cut_off",
        (Answer(xml(GOOD_LINES).body[:-40] + b"</name"),),
        "Malformed",
        ("xml that does not end",),
        requests=2,
        good=xml(GOOD_LINES),
        source=XML,
    ),
    Case(
        "xml_broken_within",
        (Answer(xml(GOOD_LINES).body.replace(b"</code>", b"</coed>", 1)),),
        says=("no well-formed XML",),
        good=xml(GOOD_LINES),
        source=XML,
    ),
    # --- values that are not of the column's type -------------------------------------------------------------------------
    Case("number_dash", bad(f"c01,{PERSONAL},2024-01-01 10:00,-"), aside={"type": 1}, live=19),
    Case("number_dash_declared", bad("c01,x,2024-01-01 10:00,-"), columns={"visitors": {"null_values": ["-"]}}),
    Case("number_grouped", bad(f'c01,{PERSONAL},2024-01-01 10:00,"1,234"'), aside={"type": 1}, live=19),
    Case("number_grouped_declared", bad('c01,x,2024-01-01 10:00,"1,234"'), columns={"visitors": {"thousands": ","}}),
    Case("number_with_words", bad(f"c01,{PERSONAL},2024-01-01 10:00,1명 (+1)"), aside={"type": 1}, live=19),
    Case("number_below_the_minimum", bad(f"c01,{PERSONAL},2024-01-01 10:00,-3"), aside={"min": 1}, live=19),
    Case("midnight_as_24", bad(f"c01,{PERSONAL},2024-01-01 24:00,5"), aside={"type": 1}, live=19),
    Case("midnight_as_24_declared", bad("c01,x,2024-01-01 24:00,5"), feed={"decode": {"allow_24h": True}}),
    Case("a_day_that_is_none", bad(f"c01,{PERSONAL},2024-02-30 10:00,5"), aside={"type": 1}, live=19),
    Case("a_required_value_missing", bad("c01,,2024-01-01 10:00,5"), aside={"not_null": 1}, live=19),
    Case("a_key_of_another_shape", bad(f"{PERSONAL},x,2024-01-01 10:00,5"), aside={"pattern": 1}, live=19),
    # --- servers ----------------------------------------------------------------------------------------------------------
    Case("stops_mid_body", (CUT,), "Transient", ("broke the connection|ended before the end",), requests=2),
    Case("stops_mid_body_once", (CUT, NEWS), requests=2),
    Case("status_500_three_times", (*(Answer(status=500),) * 3, NEWS), requests=4, source={"limits": {"max_attempts": 4}}),
    Case("status_500_for_ever", (Answer(status=500),), "Transient", ("Transient: HTTP 500", "run it again later"), requests=2),
    Case("status_404", (Answer(status=404),), "Gone", ("Gone: HTTP 404", "https://agency.test/about-the-file")),
    Case("status_403", (Answer(status=403),), "AuthFailed", ("AuthFailed: HTTP 403",)),
    Case("status_400", (Answer(status=400),), "BadRequest", ("BadRequest: HTTP 400", "correct the feed's source: block")),
    Case(
        "redirected_elsewhere",
        (Answer(status=302, headers={"Location": "http://elsewhere.test/rows.csv"}),),
        "BadRequest",
        ("it redirected to another host, elsewhere.test",),
    ),
    Case(
        "redirected_where_allowed",
        (Answer(status=302, headers={"Location": "http://allowed.test/rows.csv"}),),
        source={"redirect_hosts": ["allowed.test"]},
    ),
    Case(
        "redirected_to_a_private_address",
        (Answer(status=302, headers={"Location": "http://10.0.0.1/rows.csv"}),),
        "BadRequest",
        ("it redirected to another host, 10.0.0.1",),
    ),
    Case(
        "redirected_to_the_metadata_service",
        (Answer(status=302, headers={"Location": "http://169.254.169.254/latest/"}),),
        "BadRequest",
        ("it redirected to another host, 169.254.169.254",),
    ),
    # --- keys and quotas --------------------------------------------------------------------------------------------------
    Case(
        "missing_secret",
        (GOOD,),
        None,
        ("A_KEY_THAT_IS_NOT_SET", "set the environment variable A_KEY_THAT_IS_NOT_SET"),
        requests=0,
        source={"auth": {"kind": "header_key", "name": "X-Key", "secret": "A_KEY_THAT_IS_NOT_SET"}},
    ),
    Case(
        "quota_in_plain_text",
        (Answer(b"API token quota exceeded", 429),),
        "QuotaExhausted",
        ("QuotaExhausted", r"wait until \d{4}-\d\d-\d\d \d\d:\d\d"),
        good=page(GOOD_LINES),
        source=GATEWAY,
    ),
    Case(
        "key_not_registered",
        (Answer(NO_KEY),),
        "AuthFailed",
        ("AuthFailed", "check that the key in DATA_GO_KR_KEY is right"),
        good=page(GOOD_LINES),
        source=GATEWAY,
    ),
    Case(
        "gateway_without_rows",
        (page([]),),
        "Empty",
        ("row_count_at_least",),
        checks=NO_ROWS,
        good=page(GOOD_LINES),
        source=GATEWAY,
    ),
    Case(
        "gateway_cut_off",
        (Answer(page(GOOD_LINES).body[:-30]),),
        "Transient",
        ("the page is cut off",),
        requests=2,
        good=page(GOOD_LINES),
        source=GATEWAY,
    ),
)
