"""S3 over the transport's own HTTP: a listing page by page, a file under the listing's ETag, signed by minio's signer or unsigned.

So the address is looked up, checked and connected to once, by `http.py`; limits, TLS, redirects and resumed bodies are its too.
Nothing of this process's own AWS_* variables goes along.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import quote, unquote_to_bytes, urlencode, urlsplit

from lxml import etree
from minio.credentials.credentials import Credentials
from minio.signer import sign_v4_s3

from assets.payload import Payload
from assets.protocols.drops import LISTING, Entry, entry_of, listing_bytes
from assets.protocols.kernel import AuthFailed, BadRequest, Malformed, Outcome, RateLimited, Request, Transient
from assets.tables.readers.xml_reader import HARDENED, local
from assets.transport.drops import MAX_ENTRIES, DropFailed, missing, verified
from assets.transport.exchange import Exchange
from assets.transport.secrets import Secrets

PAGE_BYTES = 16 * 1024 * 1024
"""Most of one page of a listing, which is held in memory: a thousand keys of the greatest length, escaped, are less than 4 MB."""
_NOTHING = hashlib.sha256(b"").hexdigest()
_CODE = re.compile(rb"<Code>(\w{1,60})</Code>")


class Send(Protocol):
    """One request by HTTP, as `HttpTransport.exchange` makes it."""

    def __call__(self, request: Request, source: Any, *, on_bytes: Callable[[int], None] | None) -> Awaitable[Exchange]: ...


async def exchange_s3(
    send: Send, request: Request, source: Any, exchange: Exchange, secrets: Secrets, on_bytes: Callable[[int], None] | None
) -> Exchange:
    """Fill `exchange` with a listing, or give back the exchange that brought the file. Raises nothing for what a store does."""
    bucket = _Bucket(source, secrets)
    try:
        if request.method != LISTING:
            return await _file(send, bucket, request, source, exchange, on_bytes)
        async with asyncio.timeout(source.limits.total_timeout_s):
            entries = await _listing(send, bucket, request, source, exchange, on_bytes)
        body = listing_bytes(entries)
        exchange.body = exchange.decoded = Payload(exchange.body.place, body)
        exchange.status, exchange.headers, exchange.complete = 200, [("content-type", "application/json")], True
        exchange.bytes_read, exchange.payload_sha256 = len(body), hashlib.sha256(body).hexdigest()
    except DropFailed as error:
        _failed(exchange, error.outcome)
    except TimeoutError:
        _failed(exchange, Transient(f"{bucket.host} did not answer in time"))
    exchange.error = secrets.redact(exchange.error) if exchange.error else None
    exchange.look()
    return exchange


class _Bucket:
    """Where the store answers for one bucket, and how a request to it is signed."""

    def __init__(self, source: Any, secrets: Secrets) -> None:
        self._source, self._secrets = source, secrets
        at, name = urlsplit(source.answering), urlsplit(source.url).netloc
        self.host = at.hostname or ""
        netloc = at.netloc.removesuffix(":80" if at.scheme == "http" else ":443")
        self._base = f"{at.scheme}://{name}.{netloc}" if source.addressing == "virtual" else f"{at.scheme}://{netloc}/{name}"

    def ask(self, key: bytes, query: dict[str, str], headers: dict[str, str]) -> Request:
        """A GET of a key, or with a query of the bucket itself."""
        path = f"/{quote(key, safe='/')}" if key else "/" if self._source.addressing == "virtual" else ""
        # Encoded as the signature's rules want it, and sent as it was signed.
        url = f"{self._base}{path}" + (f"?{urlencode(sorted(query.items()), quote_via=quote)}" if query else "")
        return Request(url, headers={"Accept-Encoding": "identity", **headers, **self._signed(url)})

    def _signed(self, url: str) -> dict[str, str]:
        source = self._source
        if source.auth.kind != "access_key":
            return {}
        # The store compares with its own clock, so the machine's counts, whatever moment the fetch is planned for.
        now, parts = datetime.now(UTC), urlsplit(url)
        headers: dict[str, str | list[str] | tuple[str]] = {
            "Host": parts.netloc,
            "x-amz-content-sha256": _NOTHING,
            "x-amz-date": now.strftime("%Y%m%dT%H%M%SZ"),
        }
        if source.requester_pays:
            headers["x-amz-request-payer"] = "requester"
        key_id, key = (self._secrets.fill_header(f"{{secret:{name}}}") for name in (source.auth.name, source.auth.secret))
        sign_v4_s3(
            method="GET",
            url=parts,
            region=source.region,
            headers=headers,
            credentials=Credentials(key_id, key),
            content_sha256=_NOTHING,
            date=now,
        )
        return {name: str(value) for name, value in headers.items() if name != "Host"}


# --- a listing ----------------------------------------------------------------------------------------------------------


async def _listing(
    send: Send, bucket: _Bucket, request: Request, source: Any, exchange: Exchange, on_bytes: Callable[[int], None] | None
) -> list[Entry]:
    """All pages of ListObjectsV2. Raises DropFailed."""
    prefix = _key(request)
    below = f"{prefix}/" if prefix else ""
    query = {"list-type": "2", "encoding-type": "url", "max-keys": "1000", "prefix": below + request.headers.get("begins-with", "")}
    if after := request.headers.get("start-after"):
        query["start-after"] = below + after
    small = source.model_copy(
        update={"limits": source.limits.model_copy(update={"max_body_bytes": min(PAGE_BYTES, source.limits.max_body_bytes)})}
    )
    found: list[Entry] = []
    seen: set[str] = set()
    while True:
        page = await send(bucket.ask(b"", query, {}), small, on_bytes=on_bytes)
        exchange.origin, exchange.headers = page.origin, page.headers  # a refusal may say when to come again
        try:
            refused = _refusal(page, source, prefix or "the bucket", listing=True)
            if refused is not None:
                raise DropFailed(refused)
            entries, token = page_of(page.body.read_bytes(), below)
        finally:
            page.body.discard()
            page.decoded.discard()
        for entry in entries:
            if entry.at in seen:
                # It took no notice of the token, and would go on for ever.
                raise DropFailed(Malformed(f"{bucket.host} lists the same keys again"))
            seen.add(entry.at)
        found += entries
        if len(found) > MAX_ENTRIES:
            raise DropFailed(
                BadRequest(f"more than {MAX_ENTRIES} files are listed: list fewer by source.begins_with or source.start_after")
            )
        if token is None:
            return found
        if not entries:
            raise DropFailed(Malformed(f"{bucket.host} says that there are more keys, and lists none"))
        query["continuation-token"] = token


def page_of(body: bytes, below: str) -> tuple[list[Entry], str | None]:
    """The files of one page, their names without `below`, and what the next page is asked by. Raises DropFailed."""
    try:
        root = etree.fromstring(body, etree.XMLParser(**HARDENED))
        if local(root.tag) != "ListBucketResult":
            raise ValueError("another document")
        said = {local(child.tag): child.text or "" for child in root if isinstance(child.tag, str) and not len(child)}
        escaped = said.get("EncodingType") == "url"
        entries = []
        for child in root.iterfind("{*}Contents"):
            facts = {
                local(fact.tag): (fact.text or "").strip(" \r\n\t") if local(fact.tag) != "Key" else fact.text for fact in child
            }
            key = facts["Key"] or ""
            raw = unquote_to_bytes(key.replace("+", " ")) if escaped else key.encode()
            at = datetime.fromisoformat(facts["LastModified"] or "").astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            entries.append(entry_of(raw.removeprefix(below.encode()), int(facts["Size"] or ""), at, facts.get("ETag"), safe="/"))
        token = said.get("NextContinuationToken") if said.get("IsTruncated") == "true" else None
        if said.get("IsTruncated") not in ("true", "false", None) or (said.get("IsTruncated") == "true" and not token):
            raise ValueError("no token")
    except (etree.LxmlError, ValueError, KeyError, OverflowError):
        raise DropFailed(Malformed("the store answers with something that is no listing")) from None
    return entries, token


# --- a file -------------------------------------------------------------------------------------------------------------


async def _file(
    send: Send, bucket: _Bucket, request: Request, source: Any, exchange: Exchange, on_bytes: Callable[[int], None] | None
) -> Exchange:
    """The exchange that brought the file, as a resource. Raises DropFailed, with what was received left behind."""
    expected, key = request.headers, _key(request)
    if int(expected.get("size") or 0) > source.limits.max_body_bytes:
        raise DropFailed(BadRequest(f"the file is larger than {source.limits.max_body_bytes} bytes"))
    tag = expected.get("version", "").partition("@")[0]
    asked = bucket.ask(unquote_to_bytes(urlsplit(request.url).path).strip(b"/"), {}, {"If-Match": tag} if tag else {})
    got = await send(asked, source, on_bytes=on_bytes)
    exchange.origin = got.origin
    if got.decoded is not got.body:
        # Content-Encoding is a word of whoever laid the file there: the file is what lies there.
        got.decoded.discard()
        got.decoded = got.body
        if str(got.bytes_read) == got.header("content-length"):
            got.verdict, got.complete, got.error = None, True, None
        got.look()
    if (refused := _refusal(got, source, key, listing=False)) is not None:
        got.body.discard()
        exchange.headers = got.headers
        raise DropFailed(refused)
    try:
        await asyncio.to_thread(verified, got.body, expected)
    except DropFailed as error:
        _failed(got, error.outcome)
    told = {
        "last-modified": expected.get("modified"),
        "etag": expected.get("version"),
        "x-amz-version-id": got.header("x-amz-version-id"),
    }
    return replace(
        got,
        request=request,
        url=exchange.url,
        at=exchange.at,
        method=request.method,
        headers=[(name, value) for name, value in told.items() if value],
        hops=[],
        resource=True,
    )


def _key(request: Request) -> str:
    return unquote_to_bytes(urlsplit(request.url).path).strip(b"/").decode("utf-8", "backslashreplace")


# --- refusals -----------------------------------------------------------------------------------------------------------


def _refusal(got: Exchange, source: Any, what: str, *, listing: bool) -> Outcome | None:
    """What an answer without the file or the listing means; None where it brought it, whole."""
    host = urlsplit(source.answering).hostname or ""
    if got.status in (0, 200, 206):
        cut = None if got.complete else Transient(got.error or f"{host} broke the connection")
        return got.verdict or cut
    if got.status == 412:
        return Transient("the file changed after it was listed")
    code = found[1].decode() if (found := _CODE.search(got.head)) else ""
    outcome = meaning(got.status, code, host, got.header("x-amz-bucket-region") or "")
    return outcome or missing(what, listing)


def meaning(status: int, code: str, host: str, region: str = "") -> Outcome | None:
    """What a refusal means: HTTP status, S3's own code, the region that the bucket is in. None: it is not there."""
    if code == "RequestTimeTooSkewed":
        return BadRequest(f"{host} says that the clock of this machine is wrong")
    if code in ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException") or 300 <= status < 400:
        where = f", {region}" if re.fullmatch(r"[a-z0-9-]{1,40}", region) else ""
        return BadRequest(f"{host} says that the bucket is in another region{where}: correct source.region or source.endpoint")
    if code == "InvalidObjectState":
        return BadRequest(f"{host} keeps the file in cold storage, where it cannot be read: ask the agency to restore it")
    if code == "SlowDown" or status == 429:
        return RateLimited(None, f"{host} says {code or status}")
    if status in (401, 403):
        return AuthFailed(f"{host} does not accept this key, or does not let it read here ({code or status})")
    if status in (404, 410):
        return None
    if 400 <= status < 500 and status not in (408, 425):
        return BadRequest(f"{host} refuses with {status} {code}".rstrip())
    return Transient(f"{host} answers {status} {code}".rstrip())


def _failed(exchange: Exchange, outcome: Outcome) -> None:
    exchange.verdict, exchange.error, exchange.complete = outcome, getattr(outcome, "reason", ""), False
