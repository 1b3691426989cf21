"""ogc_features against pygeoapi itself: pages, totals, links as the server makes them, filters, and its errors."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from assets.feeds.model import Feed
from tests.protocols.drop_scene import DropWorld
from tests.protocols.standin_scene import feed_for

TOTAL, MOST = 250, 100
COLUMNS = ["id", "properties.name", "properties.level", "geometry.coordinates.0", "geometry.coordinates.1"]
HOST = "https://features.agency.example"
SERVE = (
    "import socket, sys, uvicorn; from starlette.applications import Starlette; from starlette.routing import Mount; "
    "from pygeoapi.starlette_app import APP; app = Starlette(routes=[Mount('/ogc/v1', APP), Mount('/', APP)]); "
    "uvicorn.Server(uvicorn.Config(app, log_level='critical')).run(sockets=[socket.socket(fileno=int(sys.argv[1]))])"
)
CONFIG = """
server:
  bind: {{host: 127.0.0.1, port: 5000}}
  url: {url}
  mimetype: application/json; charset=UTF-8
  encoding: utf-8
  languages: [en-US]
  map: {{url: "https://tiles.example/{{z}}/{{x}}/{{y}}.png", attribution: none}}
  limits: {{default_items: 10, max_items: 100, on_exceed: throttle}}
logging: {{level: CRITICAL}}
metadata:
  identification: {{title: t, description: d, keywords: [k], terms_of_service: none, url: "{url}"}}
  license: {{name: none, url: "{url}"}}
  provider: {{name: n, url: "{url}"}}
  contact: {{name: n}}
resources:
  stations: &stations
    type: collection
    title: Stations
    description: Stations
    keywords: [stations]
    links: []
    extents:
      spatial: {{bbox: [-180, -90, 180, 90], crs: "http://www.opengis.net/def/crs/OGC/1.3/CRS84"}}
      temporal: {{begin: 2020-01-01T00:00:00Z, end: null}}
    providers:
      - type: feature
        name: GeoJSON
        data: {folder}/stations.geojson
        id_field: id
        crs: ["http://www.opengis.net/def/crs/OGC/1.3/CRS84", "http://www.opengis.net/def/crs/EPSG/0/5186"]
  readings:
    <<: *stations
    providers: [{{type: feature, name: TinyDB, data: {folder}/readings.json, id_field: id, time_field: at}}]
  strict:
    <<: *stations
    limits: {{default_items: 10, max_items: 100, on_exceed: error}}
"""


def stations(count: int = TOTAL) -> list[dict[str, Any]]:
    return [
        {
            "type": "Feature",
            "id": f"s{n:04d}",
            "geometry": {"type": "Point", "coordinates": [126 + n / 1000, 37 + n / 2000]},
            "properties": {
                "id": f"s{n:04d}",
                "name": f"관측소 {n}",
                "level": None if n % 7 == 0 else n / 8,
                "at": f"2026-01-{n % 25 + 1:02d}T00:00:00Z",
            },
        }
        for n in range(count)
    ]


def read_back(features: list[dict[str, Any]]) -> list[tuple[str | None, ...]]:
    def number(value: float | None) -> str | None:
        return None if value is None else f"{value:.10g}"

    return [
        (f["id"], f["properties"]["name"], number(f["properties"]["level"]), *map(number, f["geometry"]["coordinates"]))
        for f in features
    ]


@contextmanager
def pygeoapi(folder: Path, url: str) -> Iterator[str]:
    """The server on loopback; `url`: what it takes for its own address. Yields where it really listens."""
    folder.mkdir()
    features = stations()
    (folder / "stations.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    (folder / "readings.json").write_text(json.dumps({"_default": dict(enumerate(features, 1))}))
    (folder / "config.yml").write_text(CONFIG.format(url=url, folder=folder))
    (folder / "openapi.json").write_text(json.dumps({"openapi": "3.0.2", "info": {"title": "t", "version": "1"}, "paths": {}}))
    environment = {"PYGEOAPI_CONFIG": f"{folder}/config.yml", "PYGEOAPI_OPENAPI": f"{folder}/openapi.json"}
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening, (folder / "log").open("w") as log:
        command = [sys.executable, "-c", SERVE, str(listening.fileno())]
        server = subprocess.Popen(
            command, pass_fds=[listening.fileno()], env=os.environ | environment, stdout=log, stderr=log, cwd=folder
        )
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.terminate()
            server.wait(20)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """One that knows its public address, and one behind a proxy that knows only itself."""
    with ExitStack() as stack:
        made = {"known": HOST, "inside": "http://localhost:5000"}
        yield {name: stack.enter_context(pygeoapi(tmp_path_factory.mktemp("api") / name, url)) for name, url in made.items()}


@pytest.fixture
def world(tmp_path: Path) -> DropWorld:
    return DropWorld(tmp_path)


def feed(collection: str = "stations", **source: Any) -> Feed:
    declared = {"protocol": "ogc_features", "base_url": HOST, "collection": collection, "size": MOST} | source
    return feed_for(declared, [{"name": f"c{n}", "source": column} for n, column in enumerate(COLUMNS)])


def test_every_page_by_its_next_link(world: DropWorld, servers: dict[str, str]) -> None:
    one = feed()
    record = world.fetch(one, {}, connect_to=servers["known"])
    assert (record.outcome, record.rows, record.responses) == ("Ok", TOTAL, 3)
    assert world.rows(one, record) == read_back(stations())
    assert [body.url.partition("?")[2] for body in world.bodies(record)] == [
        "limit=100", "offset=100&limit=100", "offset=200&limit=100"
    ]  # fmt: skip
    # the moment of the answer, which every page carries, is no news
    assert world.fetch(one, {}, connect_to=servers["known"]).outcome == "NotModified"


def test_a_limit_above_the_servers_is_capped_and_loses_nothing(world: DropWorld, servers: dict[str, str]) -> None:
    one = feed(size=5_000)
    record = world.fetch(one, {}, connect_to=servers["known"])
    assert (record.rows, record.responses) == (TOTAL, 3)
    assert world.rows(one, record) == read_back(stations())


def test_a_last_page_that_is_full_links_to_an_empty_one_which_is_not_asked(world: DropWorld, servers: dict[str, str]) -> None:
    record = world.fetch(feed(size=50), {}, connect_to=servers["known"])
    assert (record.rows, record.responses) == (TOTAL, 5)


def test_where_the_total_is_left_aside_that_empty_page_is_the_end(world: DropWorld, servers: dict[str, str]) -> None:
    record = world.fetch(feed(size=50, total="ignored"), {}, connect_to=servers["known"])
    assert (record.rows, record.responses) == (TOTAL, 6)


@pytest.mark.parametrize("base", [HOST, f"{HOST}/ogc/v1"])
def test_links_to_the_machine_behind_the_proxy_are_asked_at_the_feeds_own_address(
    world: DropWorld, servers: dict[str, str], base: str
) -> None:
    one = feed(base_url=base)
    record = world.fetch(one, {}, connect_to=servers["inside"])
    assert world.rows(one, record) == read_back(stations())
    assert {body.url.partition("?")[0] for body in world.bodies(record)} == {f"{base}/collections/stations/items"}


def test_by_offset_the_same_rows(world: DropWorld, servers: dict[str, str]) -> None:
    one = feed(paging="offset", size=70)
    record = world.fetch(one, {}, connect_to=servers["known"])
    assert (world.rows(one, record), record.responses) == (read_back(stations()), 4)


def test_a_box_goes_along_to_every_page(world: DropWorld, servers: dict[str, str]) -> None:
    one = feed(bbox=(126.0, 37.0, 126.0305, 38.0), size=10)
    record = world.fetch(one, {}, connect_to=servers["known"])
    assert (world.rows(one, record), record.responses) == (read_back(stations()[:31]), 4)


@pytest.mark.parametrize(
    ("span", "days"),
    [("2026-01-20T00:00:00Z/..", range(20, 26)), ("../2026-01-02T00:00:00Z", range(1, 3)), ("2026-01-05T00:00:00Z", [5])],
)
def test_time_and_order_by_a_backend_that_has_them(world: DropWorld, servers: dict[str, str], span: str, days: Any) -> None:
    """Its numberReturned is wrong on the last page; numberMatched is right, and counts."""
    one = feed("readings", datetime=span, sort_by="-name", size=7)
    record = world.fetch(one, {}, connect_to=servers["known"])
    wanted = [f for f in stations() if int(f["properties"]["at"][8:10]) in days]
    wanted.sort(key=lambda f: f["properties"]["name"], reverse=True)
    assert world.rows(one, record) == read_back(wanted)


def test_a_filter_by_property_and_nothing_found(world: DropWorld, servers: dict[str, str]) -> None:
    one = feed(params={"name": "관측소 7"})
    assert world.rows(one, world.fetch(one, {}, connect_to=servers["known"])) == read_back(stations()[7:8])
    record = world.fetch(feed(params={"name": "없음"}), {}, connect_to=servers["known"])
    assert (record.outcome, record.responses) == ("Empty", 1)


def test_the_coordinate_system_that_is_asked_for(world: DropWorld, servers: dict[str, str]) -> None:
    one = feed(crs=5186, size=50)
    first = world.rows(one, world.fetch(one, {}, connect_to=servers["known"]))
    assert len(first) == TOTAL
    # in the order of the system's own axes: north, east
    north, east = float(first[0][3]), float(first[0][4])
    assert 400_000 < north < 700_000 and 100_000 < east < 300_000


@pytest.mark.parametrize(
    ("source", "outcome", "said"),
    [
        ({"collection": "nowhere"}, "Gone", "NotFound: Collection not found"),
        ({"crs": 3857}, "BadRequest", "InvalidParameterValue: CRS"),
        ({"datetime": "2026-13-01"}, "BadRequest", "InvalidParameterValue: month must be in 1..12"),
        ({"bbox": (127, 38, 126, 37)}, "BadRequest", "InvalidParameterValue"),
        ({"collection": "strict", "size": 101}, "BadRequest", "InvalidParameterValue"),
        ({"params": {"f": "nonsense"}}, "BadRequest", "InvalidParameterValue"),
        ({"params": {"f": "html"}}, "Malformed", "HTML"),
    ],
)
def test_its_errors(world: DropWorld, servers: dict[str, str], source: dict[str, Any], outcome: str, said: str) -> None:
    error, record = world.fails(feed(**source), {}, connect_to=servers["known"])
    assert (error.outcome, record.responses) == (outcome, 2 if outcome == "Malformed" else 1), str(error)
    assert said in str(error)


def test_a_format_that_the_next_link_forgets_is_asked_for_all_the_same(world: DropWorld, servers: dict[str, str]) -> None:
    one = feed(params={"f": "json"})
    record = world.fetch(one, {}, connect_to=servers["known"])
    assert world.rows(one, record) == read_back(stations())
    assert ["f=json" in body.url for body in world.bodies(record)] == [True, False, False]
