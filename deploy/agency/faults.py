"""The ways in which agencies fail, each one real at the level of HTTP, switchable by route (protocols.md 4).

A fault is a word, with an argument after a colon where it takes one: `status_500:2`. Here are those that change any reply
before it is sent; an engine commits its own (`Engine.FAULTS`).
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any, Literal
from urllib.parse import unquote

from deploy.agency import row_faults
from deploy.agency.archives import with_bad_crc, without_name_flag, zipped
from deploy.agency.engine import Asked, Fault, engines
from deploy.agency.engines.data_go_kr import MESSAGES, QUOTA, envelope, gateway_error
from deploy.agency.replies import Reply, etag_of, text
from deploy.agency.row_faults import of_text

HTML = b"<!DOCTYPE html>\n<html><head><title>Notice</title></head><body><h1>The page cannot be found</h1></body></html>\n"
BOMB_BYTES = 64 * 1024 * 1024


Change = Callable[[Reply, Asked, Fault], Reply]


def _status(status: int, **headers: str) -> Change:
    def change(reply: Reply, asked: Asked, fault: Fault) -> Reply:
        """For the first N requests, or all of them without a number."""
        if fault.argument and fault.count > int(fault.argument):
            return reply
        body = text(
            status, {429: "API rate limit exceeded", 403: "Forbidden", 404: "API not found"}.get(status, "Unexpected error")
        )
        return body.with_headers(**headers)

    return change


def _retry_after_0(reply: Reply, asked: Asked, fault: Fault) -> Reply:
    return text(429, "API rate limit exceeded").with_headers(retry_after="0") if fault.count <= fault.number(2) else reply


def _quota_after_n(reply: Reply, asked: Asked, fault: Fault) -> Reply:
    return text(429, QUOTA) if fault.count > fault.number(1) else reply


def _xml_error_on_json(reply: Reply, asked: Asked, fault: Fault) -> Reply:
    return gateway_error(fault.argument or "22")


def _truncated_gzip(reply: Reply, asked: Asked, fault: Fault) -> Reply:
    packed = gzip.compress(reply.body, mtime=0)
    return reply.with_body(packed[: max(20, len(packed) // 2)]).with_headers(content_encoding="gzip")


def _double_gzip(reply: Reply, asked: Asked, fault: Fault) -> Reply:
    return reply.with_body(gzip.compress(gzip.compress(reply.body, mtime=0), mtime=0)).with_headers(content_encoding="gzip")


def _redirect(location: str) -> Change:
    return lambda reply, asked, fault: Reply(302, {"location": location, "content-type": "text/html"}, b"")


def _cp949_body(reply: Reply, asked: Asked, fault: Fault) -> Reply:
    try:
        body = reply.body.decode("utf-8").encode("cp949", "replace")
    except UnicodeDecodeError:
        return reply  # it was CP949 already
    return reply.with_body(body, reply.headers.get("content-type", "").split(";")[0] or None)


def _broken(ending: str) -> Change:
    def change(reply: Reply, asked: Asked, fault: Fault) -> Reply:
        if (fault.argument and fault.count > int(fault.argument)) or len(reply.body) < 2:
            return reply
        return replace(reply, broken_after=len(reply.body) // 2, ending="reset" if ending == "reset" else "close")

    return change


def _etag_flip(reply: Reply, asked: Asked, fault: Fault) -> Reply:
    return reply.with_headers(etag=f'"flip-{fault.count}"', last_modified=None)


def _same_etag_new_bytes(reply: Reply, asked: Asked, fault: Fault) -> Reply:
    """The tag of the untouched file stands over bytes that differ from request to request."""
    end = b"\r\n" if b"\r\n" in reply.body[:4096] else b"\n"
    changed = reply.body.rstrip(b"\r\n") + end * (fault.count + 1)
    return replace(reply, body=changed).with_headers(etag=etag_of(reply.body))


@cache
def _bomb() -> bytes:
    return zipped({"data.csv": b"a,b\n" + b"0,0\n" * (BOMB_BYTES // 4)})


def _bad_crc(reply: Reply, asked: Asked, fault: Fault) -> Reply:
    return reply.with_body(with_bad_crc(zipped({"data.csv": reply.body or b"a\n1\n"})), "application/zip")


def _xxe(reply: Reply, asked: Asked, fault: Fault) -> Reply:
    body = b'<?xml version="1.0"?>\n<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/hostname">]>\n<response><body><items><item><a>&x;</a></item></items></body></response>\n'
    return reply.with_body(body, "application/xml")


def _lines(reply: Reply) -> list[bytes]:
    return reply.body.splitlines(keepends=True)


def _ragged_rows(reply: Reply, asked: Asked, fault: Fault) -> Reply:
    """Every Nth record loses its last field (default: the tenth)."""
    every, lines = fault.number(10), _lines(reply)
    for i in range(every, len(lines), every):
        end = lines[i][len(lines[i].rstrip(b"\r\n")) :]
        lines[i] = lines[i].rstrip(b"\r\n").rpartition(b",")[0] + end
    return reply.with_body(b"".join(lines))


def _column_renamed(reply: Reply, asked: Asked, fault: Fault) -> Reply:
    if not reply.body:
        return reply
    head, *rest = _lines(reply)
    first, comma, others = head.partition(b",")
    return reply.with_body(b"".join([first + b"_NEW", comma, others, *rest]))


def _shrinks(reply: Reply, asked: Asked, fault: Fault) -> Reply:
    if not reply.body:
        return reply
    head, *rest = _lines(reply)
    return reply.with_body(b"".join([head, *rest[: max(1, len(rest) // 10)]]))


def _zip_name_no_flag(reply: Reply, asked: Asked, fault: Fault) -> Reply:
    """In a ZIP whose Korean name is UTF-8 without the flag, as KOSIS exports it; `:949` is CP949."""
    encoding = "cp949" if fault.argument == "949" else "utf-8"
    return reply.with_body(without_name_flag({"자료/통계표.csv": reply.body}, encoding), "application/zip")


def _of_rows(name: str) -> Change:
    return lambda reply, asked, fault: reply.with_body(of_text(name, fault, reply.body))


# --- faults of a request on its way ---------------------------------------------------------------------------------------


def _key_arrives(change: Callable[[str], str]) -> Callable[[Asked], Asked]:
    """The key in the query, as something between client and server has left it; other parameters stay."""

    def arrived(asked: Asked) -> Asked:
        pairs = [pair.partition("=") for pair in asked.raw_query.split("&")]
        query = "&".join(f"{k}{mark}{change(v) if unquote(v) == asked.key else v}" for k, mark, v in pairs)
        return replace(asked, raw_query=query)

    return arrived


ARRIVALS: dict[str, Callable[[Asked], Asked]] = {
    "key_double_encoded": _key_arrives(lambda value: value.replace("%", "%25")),
    "plus_as_space": _key_arrives(lambda value: value.replace("%2B", "+").replace("%2b", "+")),
}
"""Faults that change the request before the engine sees it."""

OF_TLS = frozenset({"tls_bad_cert"})
"""Faults of the connection below HTTP: `tls.py` commits them."""
Flaw = Literal["good", "untrusted", "expired", "other_name"]
FLAWS: tuple[Flaw, ...] = ("untrusted", "expired", "other_name")
"""What is wrong with the certificate by `tls_bad_cert:N`, N from 1; the first without a number."""


# --- faults of a paged answer -------------------------------------------------------------------------------------------


def _page(asked: Asked) -> int:
    number = asked.params.get("pageNo", "1")
    return int(number) if number.isdecimal() else 1


def _paged(edit: Callable[[dict[str, Any], int, Fault], None]) -> Change:
    """An edit of the JSON envelope; other bodies pass untouched."""

    def change(reply: Reply, asked: Asked, fault: Fault) -> Reply:
        try:
            whole = json.loads(reply.body)
            edit(whole["response"]["body"], _page(asked), fault)
        except (ValueError, KeyError, TypeError):
            return reply
        return reply.with_body(json.dumps(whole, ensure_ascii=False).encode())

    return change


def _total_changes(body: dict[str, Any], page: int, fault: Fault) -> None:
    if page > 1 and fault.count <= fault.number(2):
        body["totalCount"] = int(body["totalCount"]) + page


def _short(shape: str, rows: int) -> Change:
    def change(reply: Reply, asked: Asked, fault: Fault) -> Reply:
        try:
            items = json.loads(reply.body)["response"]["body"]["items"]
        except (ValueError, KeyError, TypeError):
            return reply
        listed = items if isinstance(items, list) else items.get("item", []) if items else []
        kept = (listed if isinstance(listed, list) else [listed])[:rows] if _page(asked) == 1 else []
        return envelope(kept, rows, _page(asked), 10, as_json=True, shape=shape)

    return change


def _no_data(reply: Reply, asked: Asked, fault: Fault) -> Reply:
    header = {"response": {"header": {"resultMsg": MESSAGES["03"], "resultCode": "03"}}}
    return Reply(200, {"content-type": "application/json;charset=UTF-8"}, json.dumps(header).encode())


CHANGES: dict[str, Change] = {
    "status_500": _status(500),
    "status_503": _status(503),
    "status_404": _status(404),
    "status_403": _status(403),
    "status_429": _status(429, retry_after="1"),
    "retry_after_0": _retry_after_0,
    "quota_after_n": _quota_after_n,
    "xml_error_on_json": _xml_error_on_json,
    "no_data": _no_data,
    "empty_body_200": lambda reply, asked, fault: reply.with_body(b""),
    "html_200": lambda reply, asked, fault: Reply(200, {"content-type": "text/html; charset=utf-8"}, HTML),
    "stream_cut": _broken("close"),
    "reset_mid_body": _broken("reset"),
    "slow": lambda reply, asked, fault: replace(reply, delay_s=float(fault.argument or 1)),
    "truncated_gzip": _truncated_gzip,
    "double_gzip": _double_gzip,
    "redirect_other_host": _redirect("https://elsewhere.example/file"),
    "redirect_private": _redirect("http://10.0.0.1/latest"),
    "redirect_metadata": _redirect("http://169.254.169.254/latest/meta-data/"),
    "redirect_to_html": _redirect("/missing_key.html"),
    "cp949_body": _cp949_body,
    "utf8_bom": lambda reply, asked, fault: reply.with_body(b"\xef\xbb\xbf" + reply.body),
    "etag_flip_same_bytes": _etag_flip,
    "same_etag_new_bytes": _same_etag_new_bytes,
    "zip_bomb": lambda reply, asked, fault: reply.with_body(_bomb(), "application/zip"),
    "zip_slip": lambda reply, asked, fault: reply.with_body(zipped({"../../outside.csv": reply.body}), "application/zip"),
    "bad_crc_zip": _bad_crc,
    "zip_name_no_flag": _zip_name_no_flag,
    "xxe": _xxe,
    "ragged_rows": _ragged_rows,
    "empty_file": lambda reply, asked, fault: reply.with_body(b"".join(_lines(reply)[:1])),
    "column_renamed": _column_renamed,
    "shrinks_90pct": _shrinks,
    "total_changes_mid_crawl": _paged(_total_changes),
    "one_item_object": _short("item", 1),
    "zero_item_empty_string": _short("item", 0),
    **{name: _of_rows(name) for name in row_faults.NAMES},
}
"""Faults that change the reply."""

UNCONDITIONAL = frozenset({"etag_flip_same_bytes", "same_etag_new_bytes"})
"""Faults under which the validators cannot be trusted: nothing is answered with 304."""

NAMES = tuple(sorted(CHANGES.keys() | ARRIVALS.keys() | OF_TLS | {name for engine in engines().values() for name in engine.FAULTS}))


def parse_fault(text_: str) -> tuple[str, str | None]:
    """'status_500:2' → ('status_500', '2'). Raises ValueError naming the choices."""
    name, colon, argument = (text_, "", "") if text_ in NAMES else text_.partition(":")  # 25:10:00 is a name
    if name not in NAMES:
        raise ValueError(f"'{name}' is no fault; there are: {', '.join(NAMES)}")
    if colon and name not in ("xml_error_on_json", "slow") and not argument.isdecimal():
        raise ValueError(f"'{name}' takes a whole number after the colon")
    if name == "slow" and colon:
        float(argument)
    return name, argument if colon else None
