"""What the engines of both editions of Socrata share: SoQL as far as feeds ask it, system columns, bodies, headers and errors.

No engine of its own: `socrata2.py` and `socrata3.py` are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from pydantic import Field

from deploy.agency.engine import Asked, Row
from deploy.agency.engines.indexed import page_of
from deploy.agency.replies import Reply, etag_of, http_date
from quality.contract import Strict

SYSTEM = (":id", ":created_at", ":updated_at")
"""Columns of every row that are Socrata's own."""
FAULTS = frozenset(
    {
        "offset_ignored",
        "page_size_capped",
        "duplicate_rows_between_pages",
        "changed_mid_crawl",
        "202_then_200",
        "out_of_date",
        "full_replace_new_ids",
        "rows_withdrawn",
        "error_200",
        "status_429",
        "no_stamp",
        "rows_lost_mid_crawl",
    }
)
CHANGED = datetime(2026, 11, 24, 10, 0, 0)
_CONDITION = re.compile(r"\(*\s*([:\w]+)\s*(>=|<=|=|>|<)\s*'([^']*)'\s*\)*")


class SocrataOptions(Strict):
    """Options of a data set."""

    token: bool = Field(False, description="Whether nobody is answered without an app token.")


def changed_at(asked: Asked) -> datetime:
    """When the data last changed, UTC; a full replacement is made at each midnight of the agency's clock."""
    midnight = asked.now.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight.astimezone(UTC).replace(tzinfo=None) if asked.fault("full_replace_new_ids") else CHANGED


class SoqlError(Exception):
    """A question that cannot be answered; its code."""


def stored(rows: Sequence[Row], asked: Asked) -> list[Row]:
    """The rows with their system columns. A full replacement makes all of these anew."""
    replaced = asked.fault("full_replace_new_ids") is not None
    when = f"{changed_at(asked).isoformat()}.000Z"
    mark = "new" if replaced else "row"
    made = [{":id": f"{mark}-{n:06d}", ":created_at": when, ":updated_at": when, **row} for n, row in enumerate(rows)]
    if replaced:
        made = [{**row, ":id": f"new-{n:06d}", ":created_at": when, ":updated_at": when} for n, row in enumerate(made)]
    return made[len(made) // 10 + 1 :] if asked.fault("rows_withdrawn") else made


def selected(rows: Sequence[Row], where: str) -> list[Row]:
    """The rows that keep all conditions, joined with AND; a column that is not there is an error."""
    found = list(rows)
    for part in re.split(r"\s+AND\s+", where.strip()) if where.strip() else ():
        match = _CONDITION.fullmatch(part.strip())
        if match is None:
            raise SoqlError("query.compiler.malformed")
        name, sign, value = match[1], match[2], match[3]
        if rows and not any(name in row for row in rows):
            raise SoqlError("query.soql.no-such-column")
        found = [row for row in found if row.get(name) is not None and _holds(str(row[name]).rstrip("Z"), sign, value.rstrip("Z"))]
    return found


def _holds(left: str, sign: str, right: str) -> bool:
    return {"=": left == right, ">": left > right, "<": left < right, ">=": left >= right, "<=": left <= right}[sign]


def ordered(rows: Sequence[Row], order: str, offset: int) -> list[Row]:
    """Sorted by the columns; without an order each page is cut from another arrangement."""
    if not order:
        shift = offset % max(len(rows), 1)
        return [*rows[shift:], *rows[:shift]]
    return sorted(rows, key=lambda row: [str(row.get(name.split()[0], "")) for name in order.split(",")])


def paged(rows: Sequence[Row], size: int, offset: int, asked: Asked) -> Sequence[Row]:
    """One page, by the faults that are switched on."""
    if asked.fault("offset_ignored"):
        offset = 0
    if asked.fault("rows_lost_mid_crawl") and offset:
        rows = rows[1:]  # a row of an earlier page is gone: all others move up, and one of them between the pages
    # a page beyond the end is empty, also where rows come twice
    return page_of(rows, offset + 1, offset + size, asked)[0] if offset < len(rows) else []


def rows_reply(rows: Sequence[Row], columns: Sequence[str], asked: Asked, offset: int) -> Reply:
    """Rows as Socrata writes them: one a line, a comma in front, nulls left out; columns and dates in headers."""
    lines = (
        json.dumps({name: row[name] for name in columns if row.get(name) is not None}, ensure_ascii=False, separators=(",", ":"))
        for row in rows
    )
    body = ("[" + "\n,".join(lines) + "]\n").encode()
    changed = changed_at(asked)
    if asked.fault("changed_mid_crawl") and offset:
        changed += timedelta(minutes=1)
    text = changed.strftime("%a, %d %b %Y %H:%M:%S GMT")
    late = asked.fault("out_of_date")
    headers = {
        "content-type": "application/json;charset=utf-8",
        "etag": etag_of(body)[:-1] + '---gzip"',
        "last-modified": text,
        "x-soda2-fields": json.dumps(list(columns), separators=(",", ":")),
        "x-soda2-types": json.dumps(["text"] * len(columns), separators=(",", ":")),
        "x-soda2-truth-last-modified": text,
        "x-soda2-secondary-last-modified": text,
        "x-soda2-data-out-of-date": "true" if late and late.count <= late.number(10**9) else "false",
        "x-socrata-requestid": http_date(asked.now),
    }
    if asked.fault("no_stamp"):
        headers = {name: value for name, value in headers.items() if "modified" not in name}
    return Reply(200, headers, body)


def refused(asked: Asked, token: str, needed: bool) -> Reply | None:
    """Why nothing is answered: throttled, no token or a wrong one, or not yet."""
    if (busy := asked.fault("status_429")) and busy.count <= busy.number(10**9):
        return error(429, "too_many_requests", "Too many requests; try again with an app token").with_headers(retry_after="1")
    if token and token != asked.key:
        return plain_error(403, "permission_denied", "Invalid app_token specified")
    if needed and not token:
        return plain_error(403, "authentication_required", "This needs an app token")
    if (later := asked.fault("202_then_200")) and later.count <= later.number(2):
        return Reply(202, {"content-type": "application/json;charset=utf-8"}, b'{"message":"processing"}')
    if asked.fault("error_200"):
        return plain_error(200, "internal_error", "Something went wrong")
    return None


def error(status: int, code: str, message: str) -> Reply:
    body = {"message": message, "errorCode": code, "data": {}}
    return Reply(status, {"content-type": "application/json;charset=utf-8"}, json.dumps(body).encode())


def plain_error(status: int, code: str, message: str) -> Reply:
    body = {"code": code, "error": True, "message": message}
    return Reply(status, {"content-type": "application/json;charset=utf-8"}, json.dumps(body).encode())
