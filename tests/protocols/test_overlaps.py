"""A page that begins with a record of the page before, over the stand-ins: no row is lost unseen where the rows have a key.

Where one row comes twice another is left out, though the count is right. Without a key two rows may well be alike.
"""

from __future__ import annotations

import importlib
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from assets.errors import FetchFailed
from assets.feeds.model import Feed
from tests.protocols.standin_scene import Scene, scene

PAGED = {
    "ckan": ("tests.protocols.test_ckan", "table"),
    "odcloud": ("tests.protocols.test_odcloud_standin", "feed"),
    "seoul": ("tests.protocols.test_seoul_standin", "feed"),
    "worldbank": ("tests.protocols.test_worldbank", "feed"),
    "fred": ("tests.protocols.test_fred", "feed"),
    "eia2": ("tests.protocols.test_eia2", "feed"),
    "socrata2": ("tests.protocols.socrata_scene", "feed"),
    "fdsn_event": ("tests.protocols.fdsn_scene", "usgs"),
    "data_go_kr": ("tests.protocols.test_data_go_kr_standin", "feed"),
}


def keyed(feed: Feed) -> Feed:
    names = tuple(column.name for column in feed.contract.columns)
    return feed.model_copy(update={"contract": feed.contract.model_copy(update={"key": names})})


def opened(folder: Path, name: str) -> AbstractContextManager[Scene]:
    module = importlib.import_module(PAGED[name][0])
    made = getattr(module, PAGED[name][1])
    if name == "fdsn_event":  # its GeoJSON is counted by its batches
        return scene(folder, made(size=10), module.events(25), **module.COUNTS)
    return scene(folder, made(), module.rows(25), **module.ROUTE)


@pytest.mark.parametrize("name", sorted(PAGED))
def test_with_a_key_the_fetch_fails_and_says_why(tmp_path: Path, name: str) -> None:
    with opened(tmp_path, name) as one:
        one.fault("duplicate_rows_between_pages")
        error = one.fails("Malformed", keyed(one.feed))
        assert "begins with a record of the page before, in each of 3 passes" in error.what and "larger pages" in error.what
        assert len([r for r in one.requests if r["status"] == 200]) >= 6
        one.fault()
        whole = one.rows(one.fetch(keyed(one.feed)))
        assert len(whole) == len(set(whole)) == 25


@pytest.mark.parametrize("name", sorted(PAGED))
def test_without_a_key_it_is_as_the_agency_says(tmp_path: Path, name: str) -> None:
    with opened(tmp_path, name) as one:
        one.fault("duplicate_rows_between_pages")
        try:
            assert len(one.rows(one.fetch())) == 25
        except FetchFailed as error:  # the protocol itself counts by something better
            assert "in each of" not in str(error)
