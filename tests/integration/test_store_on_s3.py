"""The store on a real S3 server: what every store must do, the cache, the bucket, and the fallback without conditional writes."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from minio import Minio

from assets.errors import IntegrityError, SettingsError
from assets.store import TICKET_LIFE_S, Store, bootstrap
from tests.integration.s3_server import S3Server
from tests.main_job.homes import madang
from tests.store_behaviour import POINTER, StoreBehaviour

TICKETS = "sets/a/.tickets/index.json"


@pytest.fixture(params=["", "/deep/prefix"], ids=["bucket", "prefix"])
def store(request: pytest.FixtureRequest, s3_url: str) -> Store:
    return Store(s3_url + request.param)


def client() -> Minio:
    return Minio(
        endpoint=urlsplit(os.environ["AWS_ENDPOINT_URL"]).netloc,
        access_key=os.environ["AWS_ACCESS_KEY_ID"],
        secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        region=os.environ["AWS_REGION"],
        secure=False,
    )


class TestOnS3(StoreBehaviour):
    """Every behaviour, at the top of a bucket and below a prefix."""


# --- the cache ---


def test_a_local_path_is_a_cached_copy(s3_url: str, tmp_path: Path) -> None:
    store = Store(s3_url)
    store.put_bytes("a/b.bin", b"12345")
    first = store.local_path("a/b.bin", tmp_path)
    assert first.read_bytes() == b"12345"
    before = first.stat().st_mtime_ns
    assert store.local_path("a/b.bin", tmp_path) == first
    assert first.stat().st_mtime_ns == before


def test_a_cached_copy_of_another_size_is_no_copy(s3_url: str, tmp_path: Path) -> None:
    store = Store(s3_url)
    store.put_bytes("a/b.bin", b"12345")
    copy = store.local_path("a/b.bin", tmp_path)
    copy.write_bytes(b"1234")
    with pytest.raises(IntegrityError, match="delete the cached file"):
        store.local_path("a/b.bin", tmp_path)
    copy.unlink()
    assert store.local_path("a/b.bin", tmp_path).read_bytes() == b"12345"


# --- the bucket ---


def test_bootstrap_makes_a_versioned_bucket_and_may_run_again(s3_url: str) -> None:
    bucket = urlsplit(s3_url).netloc
    store = Store(s3_url)
    store.put_bytes("a", b"one")
    bootstrap(s3_url)
    bootstrap(f"{s3_url}/below/it")
    store.put_bytes("a", b"two")
    assert client().get_bucket_versioning(bucket_name=bucket).status == "Enabled"
    versions = [o for o in client().list_objects(bucket_name=bucket, include_version=True) if o.object_name == "a"]
    assert len(versions) == 2


def test_bootstraps_at_the_same_time_all_succeed(s3_server: S3Server, s3_url: str) -> None:
    fresh = f"{s3_url}-again"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(bootstrap, [fresh] * 4))
    Store(fresh).put_bytes("a", b"1")


def test_bootstrap_makes_a_bucket_versioned_that_was_not(s3_url: str) -> None:
    bucket = f"{urlsplit(s3_url).netloc}-plain"
    client().make_bucket(bucket_name=bucket)
    bootstrap(f"s3://{bucket}")
    assert client().get_bucket_versioning(bucket_name=bucket).status == "Enabled"


def test_looking_makes_no_bucket(s3_server: S3Server, s3_url: str, tmp_path: Path) -> None:
    settings = {"MADANG_HOME": str(tmp_path), "MADANG_STORE": f"{s3_url}-never-made", **s3_server.environment}
    done = madang("feed", "status", "--json", **settings)
    assert done.returncode == 0, done.stderr
    assert {line["outcome"] for line in json.loads(done.stdout)} == {"never fetched"}
    assert not client().bucket_exists(bucket_name=f"{urlsplit(s3_url).netloc}-never-made")


def test_a_server_that_refuses_says_so_wherever_it_is_touched(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(s3_url).put_bytes("a/b", b"1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    store = Store(s3_url)
    for touch in (
        lambda: store.put_bytes("a/c", b"1"),
        lambda: store.get_bytes("a/b"),
        lambda: store.exists("a/b"),
        lambda: list(store.list("a")),
        lambda: store.delete("a/b"),
        lambda: store.read_pointer(POINTER),
        lambda: bootstrap(s3_url),
    ):
        with pytest.raises(SettingsError, match=r"^s3://[^ ]+: the object store refuses the bucket 'madang-.*AWS_SECRET") as caught:
            touch()
        assert "Debug source" not in str(caught.value)


def test_a_bucket_that_is_gone_takes_nothing_and_says_so(s3_url: str) -> None:
    gone = Store(f"{s3_url}-gone")
    with pytest.raises(SettingsError, match=r"the object store refuses the bucket '.*-gone' \(NoSuchBucket\)"):
        gone.put_bytes("a", b"1")
    with pytest.raises(SettingsError, match=r"NoSuchBucket"):
        list(gone.list("a"))


# --- swapping where the server refuses conditional writes ---


def test_a_dead_writers_ticket_is_removed(s3_url: str) -> None:
    store = Store(s3_url)
    born_ms = int((time.time() - TICKET_LIFE_S - 1) * 1000)
    store.put_bytes(f"{TICKETS}/{born_ms}-dead", b"")
    store.swap(POINTER, store.read_pointer(POINTER), {"n": 1})
    assert not store.exists(f"{TICKETS}/{born_ms}-dead")
    assert store.read_pointer(POINTER).value == {"n": 1}


def test_a_living_writers_ticket_is_waited_for(s3_url: str) -> None:
    store = Store(s3_url)
    living = f"{TICKETS}/{time.time_ns() // 1_000_000}-living"
    store.put_bytes(living, b"")
    with ThreadPoolExecutor(1) as pool:
        swap = pool.submit(store.swap, POINTER, store.read_pointer(POINTER), {"n": 1})
        time.sleep(2)
        assert not swap.done()
        assert not store.exists(POINTER)
        store.delete(living)
        swap.result(timeout=60)
    assert store.read_pointer(POINTER).value == {"n": 1}


def test_no_ticket_is_left(s3_url: str) -> None:
    store = Store(s3_url)
    for n in range(2):
        store.update_pointer(POINTER, lambda value, n=n: {"n": n})
    bucket = urlsplit(s3_url).netloc
    assert [o.object_name for o in client().list_objects(bucket_name=bucket, recursive=True)] == [POINTER]
