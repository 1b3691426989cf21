"""The 5 km grid of the Korea Meteorological Administration: from latitude and longitude to nx and ny, and back (protocols.md 2.10).

A Lambert conformal conic projection on a sphere with two standard parallels; the constants are those of the agency's guide to its
forecast service, the formulas those of Snyder, Map Projections (USGS Professional Paper 1395, 1987), equations 15-1 to 15-11.
"""

from __future__ import annotations

from math import asin, atan, atan2, cos, degrees, hypot, log, pi, radians, sin, tan

from assets.errors import SettingsError

RADIUS_KM, CELL_KM = 6371.00877, 5.0
STANDARD_PARALLELS = (30.0, 60.0)
ORIGIN_LATITUDE, ORIGIN_LONGITUDE = 38.0, 126.0
ORIGIN_X, ORIGIN_Y = 43, 136
"""The point of the grid at which the origin lies; points count from 1."""
COLUMNS, ROWS = 149, 253


def _colatitude(latitude: float) -> float:
    """tan(π/4 + φ/2), which every formula of the projection is made of."""
    return tan(pi / 4 + radians(latitude) / 2)


_FIRST, _SECOND = STANDARD_PARALLELS
_N = log(cos(radians(_FIRST)) / cos(radians(_SECOND))) / log(_colatitude(_SECOND) / _colatitude(_FIRST))
_SCALE = RADIUS_KM / CELL_KM * cos(radians(_FIRST)) * _colatitude(_FIRST) ** _N / _N
_ORIGIN = _SCALE / _colatitude(ORIGIN_LATITUDE) ** _N


def point_of(latitude: float, longitude: float) -> tuple[int, int]:
    """nx and ny of the point that is nearest, in degrees of WGS 84. Raises SettingsError for a place outside the grid."""
    if not (-90 < latitude < 90 and -180 <= longitude <= 180):
        raise _outside(latitude, longitude)
    radius, angle = _SCALE / _colatitude(latitude) ** _N, _N * radians(longitude - ORIGIN_LONGITUDE)
    nx, ny = (int(v + 0.5) for v in (radius * sin(angle) + ORIGIN_X, _ORIGIN - radius * cos(angle) + ORIGIN_Y))
    if not (1 <= nx <= COLUMNS and 1 <= ny <= ROWS):
        raise _outside(latitude, longitude)
    return nx, ny


def place_of(nx: int, ny: int) -> tuple[float, float]:
    """Latitude and longitude of a point of the grid, in degrees."""
    x, y = nx - ORIGIN_X, _ORIGIN - (ny - ORIGIN_Y)
    latitude = 2 * atan((_SCALE / hypot(x, y)) ** (1 / _N)) - pi / 2
    return degrees(latitude), ORIGIN_LONGITUDE + degrees(atan2(x, y) / _N)


def distance_km(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Between two places, latitude and longitude in degrees, on the sphere of the grid (haversine)."""
    (first, west), (second, east) = (tuple(map(radians, place)) for place in (one, other))
    half = sin((second - first) / 2) ** 2 + cos(first) * cos(second) * sin((east - west) / 2) ** 2
    return 2 * RADIUS_KM * asin(min(1.0, half**0.5))


def _outside(latitude: float, longitude: float) -> SettingsError:
    return SettingsError(
        f"latitude {latitude:g}, longitude {longitude:g} is not on the grid of Korea's forecasts",
        mend="give the latitude first, then the longitude, in degrees: 37.5665 126.9780",
    )
