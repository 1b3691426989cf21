"""Records as other writers make them, by hand from ISO 28500: WARC 1.0, SHA-1 in Base32, chunking left on. No test stands here."""

from __future__ import annotations

import base64
import gzip
import hashlib
import uuid
from collections.abc import Iterable, Mapping, Sequence

DATE = "2026-11-24T03:00:00Z"


def sha1(data: bytes) -> str:
    return "sha1:" + base64.b32encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode()


def warc_record(kind: str, block: bytes, /, *, version: str = "1.0", digest: bool = True, **headers: str) -> bytes:
    """One record. A header's name is given with `_` for `-`; `WARC_` before it is ours to add, but for Content-Type."""
    named = {n.replace("_", "-"): v for n, v in headers.items()}
    named = {n if n == "Content-Type" else f"WARC-{n}": v for n, v in named.items()}
    named = {"WARC-Type": kind, "WARC-Record-ID": new_id(), "WARC-Date": DATE} | named
    if digest:
        named.setdefault("WARC-Block-Digest", sha1(block))
    head = "".join(f"{name}: {value}\r\n" for name, value in {**named, "Content-Length": str(len(block))}.items())
    return f"WARC/{version}\r\n{head}\r\n".encode() + block + b"\r\n\r\n"


def new_id() -> str:
    return f"<{uuid.uuid4().urn}>"


def http_block(start: str, headers: Mapping[str, str] | Sequence[tuple[str, str]], body: bytes = b"") -> bytes:
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return "\r\n".join([start, *(f"{n}: {v}" for n, v in pairs), "", ""]).encode("utf-8", "surrogateescape") + body


def request(url: str, method: str = "GET", body: bytes = b"", sent: Mapping[str, str] | None = None, **headers: str) -> bytes:
    """`headers`: WARC's; `sent`: HTTP's."""
    target = url.partition("://")[2].partition("/")[2]
    block = http_block(f"{method} /{target} HTTP/1.1", {"Host": url.split("/")[2], **(sent or {})}, body)
    return warc_record("request", block, **{"Target_URI": url, "Content_Type": "application/http; msgtype=request"} | headers)


def response(
    url: str, body: bytes = b"", status: str = "200 OK", got: Mapping[str, str] | Sequence[tuple[str, str]] = (), **headers: str
) -> bytes:
    """`headers`: WARC's; `got`: HTTP's."""
    own = {"Target_URI": url, "Content_Type": "application/http; msgtype=response", "Payload_Digest": sha1(body)}
    return warc_record("response", http_block(f"HTTP/1.1 {status}", got, body), **own | headers)


def info(**fields: str) -> bytes:
    block = "".join(f"{n.replace('_', '-')}: {v}\r\n" for n, v in fields.items()).encode()
    return warc_record("warcinfo", block, Content_Type="application/warc-fields")


def chunked(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n"


def packed(records: Iterable[bytes]) -> bytes:
    """As `.warc.gz`: one gzip member each."""
    return b"".join(gzip.compress(record, mtime=0) for record in records)
