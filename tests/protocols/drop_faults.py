"""What every drop must make of the stand-in's faults, whichever server it is behind. No test stands here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from assets.feeds.model import Feed
from tests.protocols.drop_scene import table
from tests.protocols.standin_scene import Scene, feed_for, scene

HOST = "files.agency.example"
ROWS = [("종로구", "31"), ("중구", "7")]
FILE = table(*ROWS).encode()

PASSING = (
    ("status_500:1", 1),
    ("status_503:1", 1),
    ("status_429:1", 1),
    ("retry_after_0:2", 2),
    ("stream_cut:1", 1),
    ("reset_mid_body:1", 1),
)
"""Faults that end, each with how many requests more they cost."""
FAILING = (
    ("status_403", "AuthFailed", 1),
    ("status_404", "Gone", 1),
    ("status_500", "Transient", 5),
    ("html_200", "Malformed", 4),
    ("empty_body_200", "Malformed", 4),
    ("file_changes", "Transient", 7),
    ("file_gone", "Transient", 7),
)
"""Faults that stay, the outcome that names each, and the requests after which the fetch ends: two listings, and what follows."""


def drop_feed_of(source: Mapping[str, Any]) -> Feed:
    return feed_for({"format": "csv", "files": "*.csv", **source}, ["지점", "값"])


@contextmanager
def drop_scene(
    folder: Path, source: Mapping[str, Any], *, options: Mapping[str, Any] | None = None, **route: Any
) -> Iterator[Scene]:
    """A stand-in with one folder of one file, air.csv, unless `options` say otherwise."""
    feed = drop_feed_of(source)
    with scene(folder, feed, FILE, suffix="csv", options={"name": "air.csv", **(options or {})}, **route) as one:
        yield one


def asked(standin: Scene) -> list[str]:
    """What the stand-in was asked for, in order: LIST and GET, of HTTP too."""
    return ["LIST" if r["method"] == "LIST" or "list-type" in r["query"] else r["method"] for r in standin.requests]


def passes(standin: Scene, fault: str, more: int) -> None:
    """The rows come once, whole, at the cost of so many requests."""
    standin.fault(fault)
    record = standin.fetch()
    assert (record.outcome, record.origin) == ("Ok", "synthetic")
    assert standin.rows(record) == ROWS
    assert len(standin.requests) == 3 + more


def fails_as(standin: Scene, fault: str, outcome: str, requests: int) -> None:
    """It ends in this outcome after so many requests; with the fault gone the next fetch brings the rows."""
    standin.fault(fault)
    standin.fails(outcome)
    assert len(standin.requests) == requests
    standin.fault()
    assert standin.rows(standin.fetch()) == ROWS


def asked_anew_where_it_breaks_off(standin: Scene) -> None:
    """From the beginning, by servers that know no ranges under an ETag."""
    standin.fault("file_cut:2")
    assert standin.rows(standin.fetch()) == ROWS
    assert asked(standin) == ["LIST", "LIST", "GET", "GET", "GET"]
    standin.serve(FILE + b"x,1\n", "csv")
    standin.fault("file_cut")
    standin.fails("Transient")


def unfinished_files_wait(standin: Scene) -> None:
    """A file that grows, or has an unfinished one's name, is not read; nor is it when there was an earlier one."""
    for fault in ("file_grows", "part_names"):
        standin.fault(fault)
        record = standin.fetch()
        assert (record.outcome, record.reason) == ("Empty", "no file is ready")
        assert "GET" not in asked(standin)
    standin.fault()
    standin.forget()
    assert standin.rows(standin.fetch()) == ROWS
    for fault in ("file_grows", "file_grows:1", "part_names"):
        standin.fault(fault)
        assert standin.fetch().outcome == "NotModified"
    assert asked(standin).count("GET") == 1


def a_marker_is_waited_for(standin: Scene) -> None:
    """The feed takes only what is marked as whole, and the file's digest is the marker's."""
    standin.fault("marker_missing")
    assert standin.fetch().outcome == "Empty"
    standin.fault("wrong_md5")
    assert "MD5" in standin.fails("Malformed").what
    standin.fault()
    standin.forget()
    assert standin.rows(standin.fetch()) == ROWS
    assert asked(standin) == ["LIST", "GET", "GET"]  # no second listing; the digest, and the file
