"""The grid of Korea's forecasts, held against PROJ and against points that the agency names."""

from __future__ import annotations

import math

import pyproj
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.errors import SettingsError
from assets.feeds.load import FOLDER, load_feed
from assets.onboarding.kma_grid import COLUMNS, ROWS, distance_km, place_of, point_of

PROJ = pyproj.Proj("+proj=lcc +lat_1=30 +lat_2=60 +lat_0=38 +lon_0=126 +R=6371008.77 +units=m")


@pytest.mark.parametrize(
    ("place", "point"),
    [
        ((37.5665, 126.9780), (60, 127)),  # Seoul
        ((35.1798, 129.0750), (98, 76)),  # Busan
        ((36.3504, 127.3845), (67, 100)),  # Daejeon
        ((35.8685, 128.6036), (89, 90)),  # Daegu
        ((35.1595, 126.8526), (58, 74)),  # Gwangju
        ((38.0, 126.0), (43, 136)),  # the origin
    ],
)
def test_places_and_their_points(place: tuple[float, float], point: tuple[int, int]) -> None:
    assert point_of(*place) == point


@given(st.floats(33, 39), st.floats(124, 131))
def test_points_are_those_of_proj(latitude: float, longitude: float) -> None:
    x, y = PROJ(longitude, latitude)
    exact = (x / 5000 + 43, y / 5000 + 136)
    nearest = tuple(math.floor(v + 0.5) for v in exact)
    if all(abs(v % 1 - 0.5) > 1e-6 for v in exact):
        assert point_of(latitude, longitude) == nearest


@given(st.integers(1, COLUMNS), st.integers(1, ROWS))
def test_there_and_back(nx: int, ny: int) -> None:
    assert point_of(*place_of(nx, ny)) == (nx, ny)
    assert place_of(nx, ny)[::-1] == pytest.approx(PROJ((nx - 43) * 5000, (ny - 136) * 5000, inverse=True), abs=1e-6)


@given(st.floats(34, 38), st.floats(125, 130))
def test_the_nearest_point_is_near(latitude: float, longitude: float) -> None:
    assert distance_km((latitude, longitude), place_of(*point_of(latitude, longitude))) < 3.8  # half a diagonal of 5 km


def test_the_points_of_the_shipped_feed_are_on_the_grid() -> None:
    declared = load_feed(FOLDER / "kr.kma.village_forecast").source.each_values()  # type: ignore[attr-defined]
    for point in declared:
        assert point_of(*place_of(point["nx"], point["ny"])) == (point["nx"], point["ny"])


@pytest.mark.parametrize("place", [(126.978, 37.5665), (0.0, 0.0), (90.0, 126.0), (45.0, 126.0), (float("nan"), 126.0)])
def test_a_place_that_is_not_on_the_grid(place: tuple[float, float]) -> None:
    with pytest.raises(SettingsError, match="latitude first"):
        point_of(*place)
