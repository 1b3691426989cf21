"""A bucket of an S3 store over the files of `drops.py`: ListObjectsV2 with its cursors, GET under an ETag (protocols.md 3.20)."""

from __future__ import annotations

import base64
from datetime import UTC
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote_plus
from xml.sax.saxutils import escape

from pydantic import Field

from deploy.agency.drops import Folder, FolderOptions, Laid, laid, one, sent
from deploy.agency.engine import Asked
from deploy.agency.replies import Reply, http_date
from quality.contract import Strict

if TYPE_CHECKING:
    from deploy.agency.routes import Route, Source

REFUSALS: dict[str, tuple[int, str, str]] = {
    "access_denied": (403, "AccessDenied", "Access Denied"),
    "clock_skewed": (403, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large."),
    "other_region": (301, "PermanentRedirect", "The bucket must be addressed by the endpoint of its region."),
    "slow_down": (503, "SlowDown", "Please reduce your request rate."),
}


class BucketOptions(FolderOptions):
    """One bucket. Names of files are keys below `prefix`. The bucket is the path, or the first word of the host."""

    prefix: str = ""
    largest: int = Field(1000, gt=0, description="Most keys of a page.")


class Bucket(Folder):
    """Path style where the route's path is /bucket; virtual-host style where its host is bucket.store and its path /."""

    name: ClassVar[str] = "s3"
    SCHEME: ClassVar[str] = "http"
    Options: ClassVar[type[Strict]] = BucketOptions
    METHODS: ClassVar[tuple[str, ...]] = ("GET", "HEAD")
    FAULTS: ClassVar[frozenset[str]] = (Folder.FAULTS - {"cp949_names"}) | {*REFUSALS, "page_size_capped", "offset_ignored"}

    def answer(self, route: Route, source: Source, asked: Asked) -> Reply:
        options = route.settings
        assert isinstance(options, BucketOptions)
        for name, (status, code, message) in REFUSALS.items():
            if (fault := asked.fault(name)) and (fault.argument is None or fault.count <= int(fault.argument)):
                refused = error(status, code, message)
                return refused.with_headers(x_amz_bucket_region="eu-west-1") if name == "other_region" else refused
        key = asked.path[len(route.path.rstrip("/")) :].lstrip("/").encode("utf-8", "surrogateescape")
        if not key:
            return self._listing(options, _keyed(options, laid(route, source, asked)), asked)
        below = options.prefix.encode()
        found = one(route, source, asked, key.removeprefix(below)) if key.startswith(below) else None
        if found is None:
            return error(404, "NoSuchKey", "The specified key does not exist.")
        if asked.headers.get("if-match", found.etag) not in (found.etag, "*"):
            return error(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold.")
        headers = {"content-type": "binary/octet-stream", "accept-ranges": "bytes"}
        headers |= {"etag": found.etag, "last-modified": http_date(found.modified)}
        return sent(Reply(200, headers, found.body), asked)

    def _listing(self, options: BucketOptions, files: list[Laid], asked: Asked) -> Reply:
        params = asked.params
        if params.get("list-type") != "2":
            return error(501, "NotImplemented", "Only ListObjectsV2 is spoken here.")
        try:
            most = min(int(params.get("max-keys", "1000")), options.largest)
            token = params.get("continuation-token")
            after = base64.b64decode(token, validate=True) if token is not None else params.get("start-after", "").encode()
        except ValueError:
            return error(400, "InvalidArgument", "The continuation token provided is incorrect.")
        if capped := asked.fault("page_size_capped"):
            most = min(most, capped.number(1))
        if asked.fault("offset_ignored"):
            after = b""
        prefix = params.get("prefix", "")
        fitting = [file for file in files if file.name.startswith(prefix.encode()) and file.name > after]
        page, more = fitting[:most], len(fitting) > most
        urlencoded = params.get("encoding-type") == "url"
        name = asked.path.strip("/") or asked.host.partition(".")[0]
        told = [
            f"<Name>{escape(name)}</Name><Prefix>{escape(quote_plus(prefix, safe='/'))}</Prefix>",
            f"<KeyCount>{len(page)}</KeyCount><MaxKeys>{most}</MaxKeys><IsTruncated>{str(more).lower()}</IsTruncated>",
            "<EncodingType>url</EncodingType>" if urlencoded else "",
            f"<NextContinuationToken>{base64.b64encode(page[-1].name).decode()}</NextContinuationToken>" if more else "",
            *(_contents(file, urlencoded) for file in page),
        ]
        whole = f'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{"".join(told)}</ListBucketResult>'
        return _xml(200, whole)


def _keyed(options: BucketOptions, files: list[Laid]) -> list[Laid]:
    """The files by their keys, in the order of the keys' bytes."""
    keyed = [Laid(options.prefix.encode() + file.name, file.body, file.modified) for file in files]
    return sorted(keyed, key=lambda file: file.name)


def _contents(file: Laid, urlencoded: bool) -> str:
    key = quote_plus(file.name, safe="/") if urlencoded else escape(file.name.decode("utf-8", "replace"))
    at = file.modified.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    facts = f"<Key>{key}</Key><LastModified>{at}</LastModified><ETag>{escape(file.etag, {chr(34): '&quot;'})}</ETag>"
    return f"<Contents>{facts}<Size>{len(file.body)}</Size><StorageClass>STANDARD</StorageClass></Contents>"


def error(status: int, code: str, message: str) -> Reply:
    return _xml(status, f"<Error><Code>{code}</Code><Message>{escape(message)}</Message><RequestId>0</RequestId></Error>")


def _xml(status: int, body: str) -> Reply:
    return Reply(status, {"content-type": "application/xml"}, f'<?xml version="1.0" encoding="UTF-8"?>{body}'.encode())


ENGINE = Bucket()
