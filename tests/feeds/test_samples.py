"""Every shipped contract against its sample, and against the agency's real file: read, typed and judged as in a run."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from assets.feeds.load import FOLDER, shipped
from assets.feeds.model import Feed
from assets.protocols.kernel import Body
from assets.tables.expectations import judge_expectations
from assets.tables.judging import Judgement, judge
from assets.tables.staging import Staged, stage
from deploy.agency.engines.data_go_kr import envelope
from deploy.agency.make_samples import REFUSED, samples

SAMPLES = sorted(samples())
"""Those that are generated; the others were written by hand, and `test_shipped.py` reads them all through their protocol."""

REAL: dict[str, tuple[str, int, int, dict[str, int]]] = {
    # feed: file, rows read, accepted, refused by rule
    # Humidity 0 % does not occur: seventeen hours of May 2018 in which the instrument failed.
    "kr.seoul.bike_hourly": ("seoul-bike-hourly.csv", 8760, 8743, {"min": 17}),
    "us.usgs.earthquakes_week": ("usgs-earthquakes-week.geojson", 1707, 1707, {}),
    "us.faa.bird_strikes": ("faa-birdstrikes.csv", 10000, 10000, {}),
    "us.faa.airports": ("faa-airports.csv", 3376, 3376, {}),
    "us.noaa.seattle_weather": ("noaa-seattle-weather.csv", 1461, 1461, {}),
    "kr.incheon.airport_monthly": ("incheon-airport.cp949.csv", 222, 222, {}),
    "kr.mois.legal_dong_codes": ("kr-legal-dong-codes.cp949.csv", 46180, 46180, {}),
    "au.translink.cairns_stops": ("gtfs-cairns.zip", 416, 416, {}),
    "au.translink.cairns_stop_times": ("gtfs-cairns.zip", 37790, 37790, {}),
    "us.cftc.datasets": ("dcat-us-cftc.json", 7, 7, {}),
}


def judged(feed: Feed, path: Path, workdir: Path) -> tuple[Staged, Judgement]:
    """A file through the feed's protocol, reader, contract and expectations."""
    if feed.source.protocol == "data_go_kr":
        rows = json.loads(path.read_bytes())
        path = workdir / "body.json"
        path.write_bytes(envelope(rows, len(rows), 1, len(rows), as_json=True, shape="list").body)
    stream = feed.protocol.parse(feed, feed.source, [Body(path, {}, feed.source.address)])
    staged = stage(feed, stream, workdir / "staged.parquet")
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return staged, judge(feed, staged, workdir, source_id="test", fetched_at=at, judge_expectations=judge_expectations)


def test_samples_are_what_the_generator_makes() -> None:
    for name, body in samples().items():
        assert (FOLDER / name).read_bytes() == body, f"{name}: run python -m deploy.agency.make_samples"


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_sample_is_accepted_but_for_the_rows_made_to_be_refused(sample: str, tmp_path: Path) -> None:
    feed = shipped()[sample.split("/")[0]]
    staged, judgement = judged(feed, FOLDER / sample, tmp_path)
    assert judgement.rows_quarantined == REFUSED[feed.id], judgement.by_rule
    assert staged.missing_columns == ()
    assert [c.name for c in judgement.blocked] == []


@pytest.mark.parametrize("feed_id", sorted(REAL))
def test_the_contract_is_true_of_the_real_file(feed_id: str, shared_data: Path, tmp_path: Path) -> None:
    name, read, accepted, refused = REAL[feed_id]
    staged, judgement = judged(shipped()[feed_id], shared_data / name, tmp_path)
    assert (judgement.rows_read, judgement.rows_accepted) == (read, accepted)
    assert judgement.by_rule == refused
    assert staged.missing_columns == ()
    assert [c.name for c in judgement.blocked] == []
    # A row-level check that sent rows to quarantine has failed by name and blocks nothing.
    failed = [c.name for c in judgement.checks if not c.passed and c.severity == "critical"]
    assert len(failed) == len(refused)


def test_every_real_edition_of_the_oil_price_is_accepted(shared_data: Path, tmp_path: Path) -> None:
    editions = sorted((shared_data / "eia-wti-editions").glob("*.csv"))
    assert len(editions) == 27
    for path in (editions[0], editions[13], editions[-1]):
        folder = tmp_path / path.stem
        folder.mkdir()
        _, judgement = judged(shipped()["us.eia.wti_daily"], path, folder)
        assert judgement.rows_quarantined == 0
        assert [c.name for c in judgement.blocked] == []


def test_values_arrive_as_meant(tmp_path: Path) -> None:
    """One value of each quirk: 24:00, a dash with its status, an ids list, CP949, a trimmed blank, DD/MM/YYYY, NA."""

    def ask(feed: str, sql: str) -> list[tuple[object, ...]]:
        folder = tmp_path / feed
        folder.mkdir()
        sample = next(p for p in (FOLDER / feed).glob("sample.*") if p.name.count(".") == 1)
        _, judgement = judged(shipped()[feed], sample, folder)
        return duckdb.sql(sql.format(t=f"'{judgement.accepted}'")).fetchall()

    midnight = datetime(2026, 4, 30, 15)  # 24:00 in Seoul
    sql = "select measured_at, count(*) filter (pm10 is null), any_value(pm10_status) from {t} group by 1 order by 2 desc"
    assert ask("kr.airkorea.sido_hourly", sql)[0] == (midnight, 7, "-")
    assert ask("us.usgs.earthquakes_week", "select count(*) > 5 from {t} where ids like ',%,%,'") == [(True,)]
    assert ask("kr.mois.legal_dong_codes", "select count(*) filter (name <> trim(name)), count(distinct status) from {t}") == [
        (0, 2)
    ]
    assert ask("kr.seoul.bike_hourly", "select min(date)::varchar, max(date)::varchar from {t}") == [("2017-12-01", "2018-11-30")]
    assert ask("us.faa.airports", "select count(*), count(distinct city_status) from {t} where city is null") == [(4, 1)]


def test_a_bike_sample_fills_every_split_of_its_set() -> None:
    rows = (FOLDER / "kr.seoul.bike_hourly" / "sample.csv").read_text(encoding="utf-8").splitlines()[1:]
    months = Counter(row[6:10] + row[3:5] for row in rows if row[2] == "/")
    assert len(rows) >= 1400
    assert len(months) == 12
