"""The kernel's pure decisions, over all their arguments."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from hypothesis import given
from hypothesis import strategies as st

from assets.protocols.kernel import PageInfo
from assets.protocols.pacing import (
    CAP_S,
    CEILING_S,
    FLOOR_S,
    MOST_EMPTY,
    Broken,
    Done,
    Next,
    Paging,
    Restart,
    next_delay_s,
    retry_after_s,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
_JITTER = st.floats(0, 1, exclude_max=True)


@given(st.integers(1, 50), st.integers(1, 20), st.none() | st.floats(0, 1e6), _JITTER)
def test_a_pause_is_bounded_never_zero_and_never_shorter_than_asked(
    failures: int, attempts: int, asked: float | None, jitter: float
) -> None:
    delay = next_delay_s(failures=failures, max_attempts=attempts, retry_after_s=asked, jitter=jitter)
    if failures >= attempts or (asked is not None and asked > CEILING_S):
        assert delay is None
    else:
        assert delay is not None
        assert delay >= FLOOR_S
        assert delay >= (asked or 0)
        assert delay <= max(CAP_S, asked or 0)


@given(st.integers(1, 15), _JITTER, _JITTER)
def test_pauses_grow_and_are_not_all_alike(failures: int, one: float, other: float) -> None:
    def pause(n: int, jitter: float) -> float:
        delay = next_delay_s(failures=n, max_attempts=99, retry_after_s=None, jitter=jitter)
        assert delay is not None
        return delay

    assert pause(failures + 1, one) >= pause(failures, one)
    if failures > 3 and one - other > 0.01:
        assert pause(failures, one) > pause(failures, other)


def test_retry_after_in_both_forms_and_nonsense() -> None:
    later = format_datetime(NOW + timedelta(seconds=90), usegmt=True)
    assert retry_after_s({"retry-after": "7"}, NOW) == 7
    assert retry_after_s({"retry-after": later}, NOW) == 90
    assert retry_after_s({"retry-after": format_datetime(NOW - timedelta(days=1), usegmt=True)}, NOW) == 0
    for nonsense in ("", "soon", "-5", "²", "1.5e999"):
        assert retry_after_s({"retry-after": nonsense}, NOW) is None
    assert (retry_after_s({"retry-after": "9" * 400}, NOW) or 0) > CEILING_S


@given(st.text(max_size=40))
def test_retry_after_never_raises(value: str) -> None:
    found = retry_after_s({"retry-after": value}, NOW)
    assert found is None or found >= 0


@given(st.integers(0, 400), st.integers(1, 100), st.integers(1, 100))
def test_an_honest_server_is_read_to_the_end(total: int, asked: int, cap: int) -> None:
    """Pages of the size that the server really uses, whatever was asked."""
    size = min(asked, cap)
    paging, at = Paging(max_pages=1000), 0
    while True:
        rows = min(size, total - at)
        paging, follows = paging.take(PageInfo(total=total, page_size=size), rows, at if rows else None)
        at += rows
        if isinstance(follows, Done):
            break
        assert isinstance(follows, Next)
        assert (follows.cursor.offset, follows.cursor.page) == (at, paging.page)
    assert paging.rows == at == total


@given(st.lists(st.tuples(st.none() | st.integers(0, 30), st.integers(0, 10), st.none() | st.integers(0, 3)), max_size=12))
def test_done_means_that_the_rows_add_up(pages: list[tuple[int | None, int, int | None]]) -> None:
    paging = Paging(max_pages=5)
    for total, rows, first in pages:
        before = paging
        paging, follows = paging.take(PageInfo(total=total), rows, first)
        if isinstance(follows, Done):
            assert paging.total is None or paging.rows == paging.total
            return
        if isinstance(follows, Broken):
            return
        if isinstance(follows, Restart):
            assert paging.rows == 0
            assert paging.restarts == before.restarts + 1 <= 2
        else:
            assert paging.page <= 5


def test_links_end_the_pages_and_a_link_to_itself_breaks_them() -> None:
    paging, follows = Paging(max_pages=9).take(PageInfo(next_cursor="b"), 3, "r1")
    assert isinstance(follows, Next)
    assert follows.cursor.token == "b"
    assert isinstance(paging.take(PageInfo(), 2, "r4")[1], Done)
    assert isinstance(paging.take(PageInfo(next_cursor="b"), 2, "r4")[1], Broken)


def test_a_total_that_only_the_first_page_says_holds_for_all() -> None:
    paging, _ = Paging(max_pages=9).take(PageInfo(total=3), 2, "a")
    assert paging.take(PageInfo(), 1, "b")[1] == Done()
    assert isinstance(paging.take(PageInfo(), 2, "b")[1], Broken) and isinstance(paging.take(PageInfo(), 0, None)[1], Broken)


def test_as_many_pages_as_the_feed_allows_and_no_more() -> None:
    paging, follows = Paging(max_pages=2).take(PageInfo(total=6), 2, "a")
    assert isinstance(follows, Next)
    assert paging.take(PageInfo(total=6), 2, "b")[1] == Broken("there are more than 2 pages (source.limits.max_pages)")
    assert paging.take(PageInfo(total=6), 4, "b")[1] == Done()


def test_a_short_page_ends_an_answer_without_total_and_cursor() -> None:
    paging, follows = Paging(max_pages=9).take(PageInfo(page_size=10), 10, "a")
    assert isinstance(follows, Next)
    assert isinstance(paging.take(PageInfo(page_size=10), 4, "b")[1], Done)


@given(st.integers(0, 2 * MOST_EMPTY), st.integers(0, 2 * MOST_EMPTY), st.integers(0, 1))
def test_an_empty_page_that_leads_on_is_no_end_until_they_are_too_many(before: int, after: int, last: int) -> None:
    paging, idle = Paging(max_pages=1000), 0
    for n, rows in enumerate([*[0] * before, 1, *[0] * after]):
        paging, follows = paging.take(PageInfo(next_cursor=str(n)), rows, n if rows else None)
        idle = 0 if rows else idle + 1
        if idle > MOST_EMPTY:
            assert follows == Broken(f"{idle} pages in a row are empty, and each leads on to another")
            return
        assert isinstance(follows, Next) and follows.cursor.token == str(n)
    assert paging.take(PageInfo(), last, "z" if last else None)[1] == Done()


@given(st.integers(0, 20), st.integers(1, 20))
def test_links_that_go_in_a_circle_are_found_soon(before: int, circle: int) -> None:
    """Pages 0, 1, 2, … lead on until one leads back; none begins like the page before it, and nobody says how many there are."""
    at, pages, paging = 0, 0, Paging(max_pages=10_000)
    while True:
        at = before if at == before + circle - 1 else at + 1
        pages += 1
        paging, follows = paging.take(PageInfo(next_cursor=str(at)), 1, pages)
        if isinstance(follows, Broken):
            break
    assert "itself" in follows.why or "circle" in follows.why
    assert pages <= 4 * (before + circle) + 4


@given(st.integers(1, 300))
def test_links_that_lead_on_are_followed_to_the_end(count: int) -> None:
    paging = Paging(max_pages=10_000)
    for page in range(1, count + 1):
        paging, follows = paging.take(PageInfo(next_cursor=None if page == count else str(page)), 1, page)
        assert isinstance(follows, Next if page < count else Next if count == 1 else Done)


def test_links_that_end_before_the_total_are_told() -> None:
    paging, _ = Paging(max_pages=9).take(PageInfo(total=9, next_cursor="b"), 3, "r1")
    _, follows = paging.take(PageInfo(total=9), 3, "r4")
    assert follows == Broken("the pages end after 6 of 9 rows")
