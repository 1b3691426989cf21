"""s3 over a real store: keys, prefixes, multipart files, versions, start-after, and whose credentials go where."""

from __future__ import annotations

import hashlib
import secrets as tokens
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import NoneType
from typing import Any
from urllib.parse import urlsplit

import obstore
import pytest
from obstore.store import S3Store

from assets.feeds.model import Feed
from assets.protocols.kernel import AuthFailed, BadRequest, Cursor, RateLimited, Step, Transient, Validators, When
from assets.protocols.s3 import PROTOCOL, S3Source
from assets.transport.s3 import meaning
from tests.integration.s3_server import ACCESS_KEY, SECRET_KEY, S3Server
from tests.protocols.drop_scene import DropWorld, drop_feed, table

pytestmark = pytest.mark.xdist_group("s3")
ONE, TWO = table(("종로구", "31")), table(("종로구", "32"), ("중구", "7"))
KEYS = {"DROP_ID": ACCESS_KEY, "DROP_KEY": SECRET_KEY}
ENDPOINT = "https://s3.agency.example"
AUTH = {"kind": "access_key", "name": "DROP_ID", "secret": "DROP_KEY"}


class Bucket:
    """A fresh bucket of the server, as the agency sees it."""

    def __init__(self, server: S3Server) -> None:
        from minio import Minio

        self.name = f"drop-{tokens.token_hex(6)}"
        self.admin = Minio(urlsplit(server.endpoint).netloc, access_key=ACCESS_KEY, secret_key=SECRET_KEY, secure=False)
        self.admin.make_bucket(bucket_name=self.name)
        self.endpoint = server.endpoint
        self.store = S3Store(
            self.name,
            endpoint=server.endpoint,
            access_key_id=ACCESS_KEY,
            secret_access_key=SECRET_KEY,
            region="us-east-1",
            client_options={"allow_http": True},
        )

    def put(self, key: str, text: str | bytes) -> None:
        obstore.put(self.store, key, text if isinstance(text, bytes) else text.encode(), use_multipart=False)

    def feed(self, prefix: str = "out", **source: Any) -> Feed:
        declared = {"protocol": "s3", "url": f"s3://{self.name}/{prefix}", "endpoint": ENDPOINT, "auth": AUTH, "files": "*.csv"}
        return drop_feed(declared | source)


@pytest.fixture
def bucket(s3_server: S3Server) -> Bucket:
    return Bucket(s3_server)


@pytest.fixture
def world(tmp_path: Path, s3_server: S3Server) -> DropWorld:
    return DropWorld(tmp_path, s3_server.endpoint)


def test_a_file_is_taken_once_and_the_keys_are_nowhere(
    world: DropWorld, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "the-platforms-own")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    bucket.put("out/air.csv", ONE)
    bucket.put("outside/air.csv", TWO)
    feed = bucket.feed()
    record = world.fetch(feed, KEYS)
    assert world.rows(feed, record) == [("종로구", "31")]
    assert (record.outcome, record.origin, record.responses) == ("Ok", "synthetic", 3)
    again = world.fetch(feed, KEYS)
    assert (again.outcome, again.responses) == ("NotModified", 2)
    bucket.put("out/air.csv", TWO)
    assert world.rows(feed, world.fetch(feed, KEYS)) == [("종로구", "32"), ("중구", "7")]
    warc = world.warc(record)
    assert warc.count(b"WARC-Type: resource") == 3
    assert SECRET_KEY.encode() not in warc
    assert SECRET_KEY not in caplog.text


def test_a_multipart_etag_is_no_md5(world: DropWorld, bucket: Bucket) -> None:
    body = (ONE + "가,1\n" * 1_000_000).encode()
    obstore.put(bucket.store, "out/air.csv", body, chunk_size=5 * 1024 * 1024, use_multipart=True)
    bucket.put("out/air.csv.md5", hashlib.md5(body).hexdigest())
    etag = obstore.head(bucket.store, "out/air.csv")["e_tag"]
    assert etag is not None
    assert "-" in etag
    record = world.fetch(bucket.feed(), KEYS)
    [held] = world.bodies(record)
    assert hashlib.sha256(held.path.read_bytes()).digest() == hashlib.sha256(body).digest()
    assert world.fetch(bucket.feed(), KEYS).responses == 1


def test_all_below_the_prefix_and_only_what_is_new(world: DropWorld, bucket: Bucket) -> None:
    bucket.put("out/2026/11/24/관측 값#1%.csv", table(("나", "1")))
    feed = bucket.feed(take="all")
    assert world.rows(feed, world.fetch(feed, KEYS)) == [("나", "1")]
    bucket.put("out/2026/11/25/a.csv", table(("다", "2")))
    record = world.fetch(feed, KEYS)
    assert world.rows(feed, record) == [("나", "1"), ("다", "2")]
    assert record.responses == 3


def test_a_success_mark_completes_its_own_folder(world: DropWorld, bucket: Bucket) -> None:
    bucket.put("out/a/1.csv", ONE)
    bucket.put("out/b/1.csv", TWO)
    bucket.put("out/a/_SUCCESS", "")
    feed = bucket.feed(require_companion=True, take="all")
    record = world.fetch(feed, KEYS)
    assert world.rows(feed, record) == [("종로구", "31")]
    assert record.responses == 2


def test_start_after_leaves_out_what_lies_before(world: DropWorld, bucket: Bucket) -> None:
    bucket.put("out/2026-11-24.csv", ONE)
    bucket.put("out/2026-11-25.csv", TWO)
    feed = bucket.feed(take="all", start_after="2026-11-24.csv")
    assert world.rows(feed, world.fetch(feed, KEYS)) == [("종로구", "32"), ("중구", "7")]


def test_start_after_is_the_day_of_the_last_answer() -> None:
    feed = drop_feed({"protocol": "s3", "url": "s3://bucket/out", "start_after": "d={since:%Y/%m/%d}"}, deletes={"mode": "none"})
    now = datetime(2026, 11, 25, tzinfo=UTC)

    def asked(since: datetime | None) -> str | None:
        [step] = PROTOCOL.plan(feed, feed.source, When(now, None, since))
        return PROTOCOL.request(feed, feed.source, step, Cursor(), Validators()).headers.get("start-after")

    assert asked(datetime(2026, 11, 23, 16, tzinfo=UTC)) == "d=2026/11/24"  # in Seoul
    assert asked(None) is None
    later = Step(params={"ask": "GET", "partition": "", "at": "x", "after": "d"})
    assert "start-after" not in PROTOCOL.request(feed, feed.source, later, Cursor(), Validators()).headers


def test_an_empty_prefix_is_empty_and_a_missing_bucket_gone(world: DropWorld, bucket: Bucket) -> None:
    record = world.fetch(bucket.feed(), KEYS)
    assert (record.outcome, record.reason) == ("Empty", "no file is ready")
    _, record = world.fails(bucket.feed(url="s3://no-such-bucket/x"), KEYS)
    assert record.outcome == "Gone"


def test_a_wrong_key_is_auth_failed_at_once(world: DropWorld, bucket: Bucket) -> None:
    bucket.put("out/air.csv", ONE)
    error, record = world.fails(bucket.feed(), {"DROP_ID": ACCESS_KEY, "DROP_KEY": "wrong-secret-key"})
    assert record.outcome == "AuthFailed"
    assert world.clock.slept == []
    assert "wrong-secret-key" not in str(error)
    assert world.fails(bucket.feed(auth={"kind": "none"}), {})[1].outcome == "AuthFailed"


def test_an_open_bucket_needs_no_key(world: DropWorld, bucket: Bucket) -> None:
    import json

    everyone = {"Effect": "Allow", "Principal": {"AWS": ["*"]}}
    policy = [
        everyone | {"Action": ["s3:ListBucket"], "Resource": [f"arn:aws:s3:::{bucket.name}"]},
        everyone | {"Action": ["s3:GetObject"], "Resource": [f"arn:aws:s3:::{bucket.name}/*"]},
    ]
    bucket.admin.set_bucket_policy(bucket_name=bucket.name, policy=json.dumps({"Version": "2012-10-17", "Statement": policy}))
    bucket.put("out/air.csv", ONE)
    feed = bucket.feed(auth={"kind": "none"})
    assert world.rows(feed, world.fetch(feed, {})) == [("종로구", "31")]


def test_a_file_that_changes_after_it_was_listed_is_not_taken(world: DropWorld, bucket: Bucket) -> None:
    bucket.put("out/air.csv", ONE)
    bucket.put("out/_SUCCESS", "")
    asked: list[int] = []

    def change() -> bool:
        """Asked before the listing, as it comes, and before the file."""
        asked.append(1)
        if len(asked) == 3:
            bucket.put("out/air.csv", TWO)
        return False

    _, record = world.fails(bucket.feed(limits={"max_attempts": 1}), KEYS, cancelled=change)
    assert (record.outcome, record.reason) == ("Transient", "the file changed after it was listed")
    assert world.fetch(bucket.feed(), KEYS).outcome == "Ok"


def test_limits_and_addresses(world: DropWorld, bucket: Bucket) -> None:
    bucket.put("out/air.csv", ONE * 100)
    assert world.fails(bucket.feed(limits={"max_body_bytes": 1500}), KEYS)[1].outcome == "BadRequest"

    async def lookup(host: str, port: int) -> list[str]:
        return ["10.0.0.9"]

    _, record = world.fails(bucket.feed(), KEYS, direct=True, lookup=lookup)
    assert (record.outcome, record.responses) == ("BadRequest", 0)
    assert "s3.agency.example resolves to 10.0.0.9" in record.reason


def test_a_store_that_is_down_is_tried_again(world: DropWorld, bucket: Bucket) -> None:
    from tests.integration.s3_server import free_port

    world.connect_to = f"http://127.0.0.1:{free_port()}"
    _, record = world.fails(bucket.feed(limits={"max_attempts": 2}), KEYS)
    assert record.outcome == "Transient"
    assert len(world.clock.slept) == 1


@pytest.mark.parametrize("auth", [AUTH, {"kind": "none"}])
def test_requester_pays_is_said_and_nothing_of_our_own_is_sent(
    world: DropWorld, monkeypatch: pytest.MonkeyPatch, auth: dict[str, str]
) -> None:
    """The request as it leaves: what a store that bills the reader sees."""
    seen: list[dict[str, str]] = []

    class Store(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append({k.lower(): v for k, v in self.headers.items()} | {"path": self.path})
            body = b'<?xml version="1.0"?><ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated></ListBucketResult>'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "OURS")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "ours")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "ours-too")
    server = HTTPServer(("127.0.0.1", 0), Store)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        source = {"protocol": "s3", "url": "s3://bucket/out", "requester_pays": auth is AUTH, "start_after": "b.csv", "auth": auth}
        world.connect_to = f"http://127.0.0.1:{server.server_port}"
        feed = drop_feed(source | {"endpoint": ENDPOINT})
        assert world.fetch(feed, KEYS).outcome == "Empty"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    [asked] = seen
    assert asked.get("x-amz-request-payer") == ("requester" if auth is AUTH else None)
    assert "list-type=2" in asked["path"]
    assert "start-after=out%2Fb.csv" in asked["path"]
    assert "x-amz-security-token" not in asked
    assert (f"Credential={ACCESS_KEY}/" in asked.get("authorization", "")) == (auth is AUTH)
    assert "OURS" not in str(asked)


@pytest.mark.parametrize(
    ("status", "code", "outcome"),
    [
        (403, "SignatureDoesNotMatch", AuthFailed),
        (403, "InvalidAccessKeyId", AuthFailed),
        (403, "AccessDenied", AuthFailed),
        (401, "", AuthFailed),
        (403, "RequestTimeTooSkewed", BadRequest),
        (403, "InvalidObjectState", BadRequest),
        (301, "PermanentRedirect", BadRequest),
        (400, "AuthorizationHeaderMalformed", BadRequest),
        (400, "InvalidRequest", BadRequest),
        (503, "SlowDown", RateLimited),
        (429, "", RateLimited),
        (404, "NoSuchBucket", NoneType),
        (500, "InternalError", Transient),
        (0, "", Transient),
    ],
)
def test_what_refusals_mean(status: int, code: str, outcome: type) -> None:
    assert isinstance(meaning(status, code, "h"), outcome)


def test_where_the_store_answers() -> None:
    amazon = S3Source.model_validate({"protocol": "s3", "url": "s3://bucket/x", "format": "csv", "region": "ap-northeast-2"})
    assert amazon.answering == "https://s3.ap-northeast-2.amazonaws.com"


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "s3://UPPER/x"},
        {"url": "https://bucket/x"},
        {"endpoint": "http://user:pw@h"},
        {"requester_pays": True},
        {"auth": {"kind": "access_key", "secret": "K"}},
        {"auth": {"kind": "access_key", "name": "AKIA-in-the-open", "secret": "K"}},
    ],
)
def test_a_declaration_that_is_not_safe_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        S3Source.model_validate({"protocol": "s3", "format": "csv", "url": "s3://bucket/x"} | wrong)
