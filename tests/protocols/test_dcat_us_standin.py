"""dcat_us: whole fetches from the stand-in, and the table they make: churn, catalogues that shrink, identifiers that are lost."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.archive.fetches import FetchRecord
from assets.feeds.model import Feed
from assets.tables.build import TableResult, build_table
from assets.tables.index import live_paths, read_index
from tests.protocols.standin_scene import Scene, feed_for, fetch_on_paper, paper, scene
from tests.tables.making import read

SOURCE: dict[str, Any] = {"protocol": "dcat_us", "url": "https://agency.example/data.json"}
ROUTE: dict[str, Any] = {"kind": "dcat_us", "host": "agency.example", "path": "/data.json"}
COLUMNS = [
    {"name": "dataset_id", "source": "identifier", "nullable": False}, {"name": "title"}, {"name": "keywords", "source": "keyword"},
    {"name": "modified"}, {"name": "modified_every"},
]  # fmt: skip


def feed(**parts: Any) -> Feed:
    contract = {"columns": COLUMNS, "key": ["dataset_id"], "missing_columns": "null", "max_quarantine": 0.5}
    return feed_for(SOURCE | parts.pop("source", {}), [], contract=contract | parts.pop("contract", {}), **parts)


def sets(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [
        {
            "identifier": f"d{n:03d}", "title": "Wells" if n % 3 else "Grain", "keyword": ["b", f"a{n}", "c"],
            "modified": "R/P1W" if n % 4 == 0 else "2026-01-02",
        }
        for n in range(start, start + count)
    ]  # fmt: skip


def expected(count: int) -> list[tuple[Any, ...]]:
    return [
        (d["identifier"], d["title"], f'["{d["keyword"][1]}","b","c"]', d["modified"], "P1W" if d["modified"][0] == "R" else None)
        for d in sets(count)
    ]


@pytest.fixture(scope="module")
def agency(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("agency"), feed(), sets(20), **ROUTE) as opened:
        yield opened


@pytest.fixture
def clean(agency: Scene, tmp_path: Path) -> Scene:
    """The agency as on the first day, with nothing archived yet."""
    agency.serve(sets(20))
    agency.fault()
    agency.forget()
    return Scene(tmp_path, agency.feed, agency.agency, agency.url)


def build(clean: Scene, record: FetchRecord) -> TableResult:
    return build_table(
        clean.feed, record, store=clean.store, ledger=clean.ledger, workdir=clean.folder / "build", now=clean.clock.now()
    )


def table(clean: Scene) -> list[tuple[Any, ...]]:
    index = read_index(clean.store, clean.feed.id)
    assert index is not None
    names = [column["name"] for column in COLUMNS]
    return [
        tuple(row[name] for name in names) for row in read(live_paths(clean.store, index, clean.folder / "cache"), "dataset_id")
    ]


# --- whole fetches --------------------------------------------------------------------------------------------------------

FAULTS = ["html_200", "empty_body_200", "status_500:1", "status_404", "modified_churn_only", "keywords_reordered", "catalog_empty",
          "catalog_shrinks_90pct", "identifiers_lost:3"]  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 30), st.lists(st.sampled_from(FAULTS), max_size=2, unique=True), st.sampled_from(["1.1", "3.0", "other"]))
def test_a_finished_fetch_has_every_data_set_that_is_in_the_catalogue(total: int, faults: list[str], version: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        done = fetch_on_paper(
            feed(), paper(Path(folder), feed(), sets(total), faults=faults, options={"version": version}, **ROUTE)
        )
    assert done.outcome in ("Ok", "Empty", "Malformed", "Gone"), done
    if done.outcome == "Ok":
        left = max(1, total // 10) if "catalog_shrinks_90pct" in faults else total
        assert len(done.rows) == left
        if not {"identifiers_lost:3", "modified_churn_only", "keywords_reordered"} & set(faults):
            assert done.rows == expected(total)[:left]
    if done.outcome == "Empty":
        assert total == 0 or "catalog_empty" in faults
    if version == "other" and not {"html_200", "empty_body_200", "status_404"} & set(faults):
        assert done.outcome == "Malformed" and "elsewhere.example" in done.reason


def test_a_catalogue_is_one_request_and_asked_again_with_its_etag(clean: Scene) -> None:
    record = clean.fetch()
    assert clean.rows(record) == expected(20)
    assert clean.fetch().outcome == "NotModified"
    assert [(r["path"], r["status"]) for r in clean.requests] == [("/data.json", 200), ("/data.json", 304)]


@pytest.mark.parametrize(
    ("fault", "outcome", "asked"),
    [
        ("html_200", "Malformed", 2), ("empty_body_200", "Malformed", 2), ("status_404", "Gone", 1),
        ("status_403", "AuthFailed", 1),
        ("status_500", "Transient", 5), ("truncated_gzip", "Transient", 5), ("double_gzip", "Malformed", 2),
        ("xxe", "Malformed", 2),
        ("redirect_other_host", "BadRequest", 1),
        ("redirect_private", "BadRequest", 1), ("quota_after_n:0", "RateLimited", 5),
    ],
)  # fmt: skip
def test_each_fault_has_its_outcome_and_is_asked_as_often_as_it_may(clean: Scene, fault: str, outcome: str, asked: int) -> None:
    clean.fault(fault)
    clean.fails(outcome)
    assert len(clean.requests) == asked


@pytest.mark.parametrize(
    "fault", ["status_500:2", "status_503:1", "status_429:1", "retry_after_0:2", "stream_cut", "reset_mid_body", "utf8_bom",
              "etag_flip_same_bytes"],
)  # fmt: skip
def test_what_passes_loses_nothing(clean: Scene, fault: str) -> None:
    """A connection that breaks is taken up where it broke."""
    clean.fault(fault)
    assert clean.rows(clean.fetch()) == expected(20)


# --- what makes news ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "faults", [("modified_churn_only",), ("keywords_reordered",), ("modified_churn_only", "keywords_reordered")]
)
def test_new_dates_and_orders_on_the_same_data_sets_are_no_new_version(clean: Scene, faults: tuple[str, ...]) -> None:
    """Each answer differs in its bytes and its ETag; each is archived, and none is news."""
    clean.fault(*faults)
    first = clean.fetch()
    before = build(clean, first)
    for _ in range(3):
        again = clean.fetch()
        assert (again.outcome, again.body_fetch_id) == ("NotModified", first.fetch_id)
    assert {r["status"] for r in clean.requests} == {200} and len(clean.requests) == 4
    assert before.accepted == 20 and len(table(clean)) == 20


def test_the_same_bytes_under_another_etag_are_no_news(clean: Scene) -> None:
    """The digest of the whole file comes first."""
    clean.fault("etag_flip_same_bytes")
    first, again = clean.fetch(), clean.fetch()
    assert (again.outcome, again.body_fetch_id, again.payload_sha256) == ("NotModified", first.fetch_id, first.payload_sha256)
    assert [r["status"] for r in clean.requests] == [200, 200]


def test_one_data_set_that_did_change_is_news(clean: Scene, agency: Scene) -> None:
    build(clean, clean.fetch())
    agency.serve([sets(20)[0] | {"title": "Deep wells", "keyword": ["c", "a0", "b"]}, *sets(20)[1:]])
    changed = clean.fetch()
    assert changed.outcome == "Ok"
    done = build(clean, changed)
    assert (done.changes.added, done.changes.revised, done.changes.withdrawn, done.changes.unchanged) == (0, 1, 0, 19)


def test_data_sets_come_and_go_by_set_difference(clean: Scene, agency: Scene) -> None:
    build(clean, clean.fetch())
    agency.serve([*sets(20)[2:], *sets(3, 50)])
    done = build(clean, clean.fetch())
    assert (done.changes.added, done.changes.withdrawn, done.changes.unchanged) == (3, 2, 18)
    assert [row[0] for row in table(clean)] == [*(f"d{n:03d}" for n in range(2, 20)), "d050", "d051", "d052"]


@pytest.mark.parametrize("fault", ["catalog_shrinks_90pct", "catalog_empty"])
def test_a_catalogue_that_shrank_takes_nothing_away(clean: Scene, fault: str) -> None:
    build(clean, clean.fetch())
    clean.fault(fault)
    shrunk = clean.fetch()
    done = build(clean, shrunk)
    assert shrunk.outcome == ("Ok" if fault == "catalog_shrinks_90pct" else "Empty")
    assert "shrink_guard" in {check.name for check in done.blocked} or fault == "catalog_empty"
    assert done.blocked and len(table(clean)) == 20
    clean.fault()
    assert build(clean, clean.fetch()).blocked == () and len(table(clean)) == 20


# --- identifiers ----------------------------------------------------------------------------------------------------------


def refused(clean: Scene, done: TableResult) -> list[tuple[Any, ...]]:
    paths = [clean.store.local_path(file.key, clean.folder / "cache") for file in done.quarantine_files]
    return [(r["_source_row"], r["_rule"], r["_failures"][0]["column"], r["title"]) for r in read(paths, "_source_row")]


def test_data_sets_without_an_identifier_are_set_aside_and_told(clean: Scene) -> None:
    """Missing, blank, white space and null: each row is kept in quarantine with its reason and its other values."""
    clean.fault("identifiers_lost:4")
    done = build(clean, clean.fetch())
    assert (done.rows_read, done.accepted, done.quarantined) == (20, 15, 5)
    assert refused(clean, done) == [
        (n + 1, "not_null", "dataset_id", "Wells" if n % 3 else "Grain") for n in (0, 4, 8, 12, 16)
    ]  # fmt: skip


def test_identifiers_that_stand_twice(clean: Scene, agency: Scene) -> None:
    """The same data set twice is one; two data sets under one identifier are neither: nothing says which is right."""
    agency.serve([*sets(6), sets(6)[1], sets(6)[2] | {"title": "Another"}, sets(6)[3] | {"identifier": " d003 "}])
    done = build(clean, clean.fetch())
    assert refused(clean, done) == [
        (3, "key_conflict", "dataset_id", "Wells"), (7, "duplicate_row", "dataset_id", "Wells"),
        (8, "key_conflict", "dataset_id", "Another"), (9, "duplicate_row", "dataset_id", "Grain"),
    ]  # fmt: skip
    assert done.rows_read == done.accepted + done.quarantined == 9
    assert [row[0] for row in table(clean)] == ["d000", "d001", "d003", "d004", "d005"]
