"""Makes the synthetic sample of every feed: `python -m deploy.agency.make_samples [--check]`.

Invented rows in the real files' encoding, header and quirks, from fixed seeds, so that the demo and the tests need nobody's
data. Names of airports are the FAA's own, because the reviewed crosswalk is over them; what happens there is invented. Each
sample holds a few rows that must be refused, and REFUSED says how many and why.
"""

# ruff: noqa: E501, S311  (records as one line each; invented rows need no strong randomness)

from __future__ import annotations

import csv
import io
import json
import math
import random
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

FEEDS = Path(__file__).resolve().parents[2] / "assets" / "feeds"
PLACES: dict[str, list[list[Any]]] = json.loads(Path(__file__).with_name("sample_places.json").read_text(encoding="utf-8"))
"""Names that the rows hang on: the FAA's airports in both spellings, regions with earthquakes, invented stations."""

REFUSED: dict[str, int] = {
    "kr.seoul.bike_hourly": 4,  # humidity 0 twice, one negative count, one day in ISO order
    "us.usgs.earthquakes_week": 2,  # magnitude 99, latitude 123
    "us.faa.bird_strikes": 6,  # three dates as M/D/YYYY, two speeds with a sign or words, one unknown time of day
    "us.faa.airports": 2,  # a code of two letters, a latitude of 402
    "us.eia.wti_daily": 0,
    "us.noaa.seattle_weather": 3,  # highest below lowest, negative rain, an unknown word
    "kr.incheon.airport_monthly": 2,  # month 13, a dash for a number
    "kr.mois.legal_dong_codes": 3,  # nine digits, an unknown status, a code that stands twice
    "kr.airkorea.sido_hourly": 2,  # a negative concentration, a time without hour
}
"""Rows of each sample that its contract refuses, all told (not counting the editions beside the sample)."""


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]], encoding: str = "utf-8", end: str = "\n") -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator=end)
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue().encode(encoding)


def _g(value: float, digits: int = 1) -> str:
    """A number as the Seoul file writes it: no trailing zero."""
    return f"{round(value, digits):g}"


HOLIDAYS = {
    date(2017, 12, 25),
    date(2018, 1, 1),
    date(2018, 3, 1),
    date(2018, 5, 22),
    date(2018, 6, 6),
    date(2018, 8, 15),
    date(2018, 10, 9),
}
CLOSED = {date(2018, 4, 11), date(2018, 10, 6), date(2018, 11, 6)}


def seoul_bike_hourly() -> bytes:
    """A year of hours with gaps: two days running of each week, no eighth week, and all holidays and closed days.

    So an hour one day or one week earlier is there for some rows and absent for others, as around the gaps of a real series.
    """
    dice = random.Random(20171201)
    rows: list[list[str]] = []
    day = date(2017, 12, 1)
    while day <= date(2018, 11, 30):
        since = (day - date(2017, 12, 1)).days
        kept = since % 7 in (0, 1) or day in CLOSED or day in HOLIDAYS
        if kept and (since // 7) % 8 != 7:
            warmth = 12.5 - 15.5 * math.cos(2 * math.pi * (day.timetuple().tm_yday - 20) / 365) + dice.gauss(0, 2.5)
            wet = dice.random() < 0.2
            holiday, closed = day in HOLIDAYS, day in CLOSED
            for hour in range(24):
                temperature = warmth + 4 * math.sin(2 * math.pi * (hour - 9) / 24) + dice.gauss(0, 0.5)
                humidity = max(
                    15, min(98, round((85 if wet else 55) - 12 * math.sin(2 * math.pi * (hour - 9) / 24) + dice.gauss(0, 6)))
                )
                rain = round(dice.expovariate(0.8), 1) if wet and temperature > 1 and dice.random() < 0.5 else 0.0
                snow = round(dice.uniform(0.2, 4), 1) if wet and temperature <= 1 else 0.0
                sun = (
                    max(0.0, math.sin(math.pi * (hour - 6) / 13)) * (0.6 if wet else 2.2) * (0.6 + warmth / 60)
                    if 6 < hour < 19
                    else 0.0
                )
                commute = (
                    0
                    if holiday or day.weekday() > 4
                    else 1.7 * math.exp(-((hour - 8) ** 2) / 2.0) + 2.0 * math.exp(-((hour - 18) ** 2) / 4.0)
                )
                demand = (0.35 + commute + 0.9 * math.exp(-((hour - 16) ** 2) / 30.0)) * max(60.0, 90 + 24 * min(temperature, 27))
                count = 0 if closed else max(2, round(demand * (0.25 if rain > 0.4 else 1.0) * dice.uniform(0.8, 1.2)))
                season = ("Winter", "Spring", "Summer", "Autumn")[(day.month % 12) // 3]
                rows.append(
                    [
                        f"{day:%d/%m/%Y}", str(count), str(hour), _g(temperature), str(humidity), _g(dice.uniform(0, 4)),
                        str(min(2000, round(dice.uniform(300, 2600)))), _g(temperature - (100 - humidity) / 5), _g(sun, 2), _g(rain), _g(snow),
                        season, "Holiday" if holiday else "No Holiday", "No" if closed else "Yes",
                    ]
                )  # fmt: skip
        day += timedelta(days=1)
    rows[100][4] = rows[101][4] = "0"
    rows[200][1] = "-5"
    rows[300][0] = "{2}-{1}-{0}".format(*rows[300][0].split("/"))
    header = "Date,Rented Bike Count,Hour,Temperature,Humidity,Wind speed,Visibility,Dew point temperature,Solar Radiation,Rainfall,Snowfall,Seasons,Holiday,Functioning Day"
    return _csv(header.split(","), rows, end="\r\n")


def usgs_earthquakes_week() -> bytes:
    dice = random.Random(1517968154)
    end = datetime(2018, 2, 7, 2, 0, tzinfo=UTC)
    features: list[dict[str, Any]] = []
    for number in range(420):
        net, name, lon0, lat0 = dice.choice(PLACES["regions"])
        magnitude = round(min(6.8, max(-0.7, dice.gauss(1.3, 1.1) + (2.2 if net == "us" else 0))), 2 if net in ("ci", "nc") else 1)
        time = end - timedelta(seconds=dice.uniform(0, 7 * 86400))
        # Near towns and above magnitude 2 people write in.
        felt = max(1, round(10 ** (magnitude - 2.4) * dice.uniform(1, 6))) if magnitude > 1.9 and dice.random() < 0.62 else None
        event, code = f"{net}{37800000 + number * 17}", str(37800000 + number * 17)
        ids = [event] + ([f"us1000{dice.randrange(16**4):04x}"] if net != "us" and number % 25 == 0 else [])
        blast = net in ("ci", "uu") and dice.random() < 0.04
        distance, bearing = dice.randint(1, 60), dice.choice(("N", "NNE", "E", "SE", "S", "WSW", "W", "NW"))
        place = f"{distance}km {bearing} of {name}"
        properties: dict[str, Any] = {
            "mag": magnitude, "place": place, "time": round(time.timestamp() * 1000),
            "updated": round(min(end, time + timedelta(seconds=dice.uniform(120, 40000))).timestamp() * 1000) + 900,
            "tz": dice.choice((-480, -540, -600)), "url": f"https://earthquake.usgs.gov/earthquakes/eventpage/{event}",
            "detail": f"https://earthquake.usgs.gov/earthquakes/feed/v1.0/detail/{event}.geojson", "felt": felt,
            "cdi": round(dice.uniform(1, 4.5), 1) if felt else None, "mmi": None, "alert": "green" if magnitude > 5.5 else None,
            "status": "reviewed" if dice.random() < 0.7 else "automatic", "tsunami": 1 if magnitude > 6.3 else 0,
            "sig": round(max(0.0, magnitude) ** 2 * 16), "net": net, "code": code, "ids": "," + ",".join(ids) + ",",
            "sources": "," + ",".join(i[:2] for i in ids) + ",", "types": ",dyfi,geoserve,origin," if felt else ",geoserve,origin,phase-data,",
            "nst": None if net == "ak" else dice.randint(4, 90), "dmin": None if net == "ak" else round(dice.expovariate(8), 5),
            "rms": round(dice.uniform(0.02, 1.1), 2), "gap": None if net == "ak" else dice.randint(20, 320),
            "magType": {"us": "mb", "nc": "md"}.get(net, "ml"), "type": "quarry blast" if blast else "earthquake",
            "title": f"M {magnitude:.1f} - {place}",
        }  # fmt: skip
        lon, lat, depth = lon0 + dice.gauss(0, 0.7), lat0 + dice.gauss(0, 0.5), dice.expovariate(0.08) - 1
        geometry = {"type": "Point", "coordinates": [round(lon, 4), round(lat, 4), round(depth, 2)]}
        features.append({"type": "Feature", "properties": properties, "geometry": geometry, "id": event})
    features[50]["properties"]["mag"] = 99
    features[60]["geometry"]["coordinates"][1] = 123.0
    metadata = {
        "generated": 1517968154000, "url": "https://earthquake.usgs.gov/earthquakes/feed/v1.0/summary/all_week.geojson",
        "title": "USGS All Earthquakes, Past Week", "status": 200, "api": "1.5.8", "count": len(features),
    }  # fmt: skip
    # One feature a line, as the agency writes it, in order of time, newest first.
    features.sort(key=lambda f: -int(f["properties"]["time"]))
    body = ",\n".join(json.dumps(f, separators=(",", ":")) for f in features)
    return f'{{"type":"FeatureCollection","metadata":{json.dumps(metadata, separators=(",", ":"))},"features":[{body}]}}'.encode()


def faa_bird_strikes() -> bytes:
    dice = random.Random(1990)
    rows: list[list[str]] = []
    aircraft = (
        "B-737-300",
        "MD-80",
        "B-757-200",
        "B-727",
        "FOKKER F100",
        "A-320",
        "DC-9",
        "SAAB-340",
        "CL-RJ100/200",
        "DHC8 DASH 8",
    )
    operators = (
        "AMERICAN AIRLINES",
        "US AIRWAYS*",
        "DELTA AIR LINES",
        "SOUTHWEST AIRLINES",
        "UNITED AIRLINES",
        "BUSINESS",
        "FEDEX EXPRESS",
    )
    species = {
        "Small": ("Unknown bird - small", "European starling", "Barn swallow", "Mourning dove", "American kestrel"),
        "Medium": ("Unknown bird - medium", "Rock pigeon", "Ring-billed gull", "Killdeer", "Unknown bird or bat"),
        "Large": ("Unknown bird - large", "Canada goose", "Red-tailed hawk", "Turkey vulture", "White-tailed deer"),
    }
    for _ in range(1200):
        airport, state = dice.choice(PLACES["strike_airports"])
        size = dice.choices(("Small", "Medium", "Large"), (49, 43, 8))[0]
        phase = dice.choices(
            ("Approach", "Climb", "Take-off run", "Landing Roll", "Descent", "Taxi", "Parked"), (46, 20, 16, 14, 4, 1, 1)
        )[0]
        base = {"Approach": 140, "Climb": 160, "Take-off run": 120, "Landing Roll": 90, "Descent": 220, "Taxi": 15, "Parked": 0}[
            phase
        ]
        speed = max(0, round(dice.gauss(base, 20) / 5) * 5)
        risk = {"Small": 0.05, "Medium": 0.16, "Large": 0.5}[size] * (0.6 + speed / 300)
        military = airport.endswith("AIR FORCE BASE ARPT")
        damage = dice.choices(("Minor", "Medium", "Substantial"), (50, 20, 30))[0] if dice.random() < risk else "None"
        if military and damage == "Substantial":
            damage = "C"
        repair = 0 if damage == "None" or dice.random() < 0.7 else round(dice.lognormvariate(9, 1.5))
        other = 0 if dice.random() < 0.99 else round(dice.lognormvariate(6, 1))
        day = date(1990, 1, 8) + timedelta(days=dice.randrange(4580))
        rows.append(
            [
                airport, "B-52H" if military else dice.choice(aircraft), damage, f"{day:%Y-%m-%d}",
                "MILITARY" if military else dice.choice(operators), state, phase, size, dice.choice(species[size]),
                dice.choices(("Day", "Night", "Dusk", "Dawn"), (56, 34, 6, 4))[0], str(other), str(repair), str(other + repair),
                "" if dice.random() < 0.28 else str(speed),
            ]
        )  # fmt: skip
    for i in (40, 41, 42):
        year, month, day_ = rows[i][3].split("-")
        rows[i][3] = f"{int(month)}/{int(day_)}/{year}"
    rows[50][13], rows[51][13], rows[52][9] = "-130", "abt 140", "Evening"
    rows.append(list(rows[10]))  # reports can be equal in every column
    rows.sort(key=lambda r: (r[5], r[0]))
    header = "Airport Name,Aircraft Make Model,Effect Amount of damage,Flight Date,Aircraft Airline Operator,Origin State,Phase of flight,Wildlife Size,Wildlife Species,Time of day,Cost Other,Cost Repair,Cost Total $,Speed IAS in knots"
    return _csv(header.split(","), rows, end="\r\n")


def faa_airports() -> bytes:
    """The crosswalk's airports by their names in the FAA's list, and invented fields between them."""
    dice = random.Random(3376)
    rows: list[list[str]] = [list(r) for r in PLACES["airports"]]
    words = ("Cedar", "Prairie", "Eagle", "Willow", "Stone", "Mesa", "Harbor", "Pine", "Falcon", "Clear")
    kinds = ("Municipal", "Regional", "County", "Field", "Airpark")
    for number in range(90):
        state = ("TX", "CA", "AK", "OH", "KS", "MN", "GA", "WA")[number % 8]
        name = f"{words[number % 10]} {('Creek', 'Valley', 'Lake')[number % 3]} {kinds[number % 5]}"
        city = "NA" if number % 30 == 7 else f"{words[(number * 3) % 10]} {('City', 'Springs', 'Falls')[number % 3]}"
        position = [f"{dice.uniform(30, 47):.8f}", f"{dice.uniform(-122, -75):.8f}"]
        rows.append(
            [
                f"{number:02d}{chr(65 + number % 26)}" if number % 9 else f"X{chr(65 + number % 26)}{number:02d}",
                name,
                city,
                "NA" if city == "NA" else state,
                "USA",
                *position,
            ]
        )
    rows += [list(r) for r in PLACES["no_city"]]
    rows.append(["Z9", "Two Letters", "Nowhere", "TX", "USA", "31.5", "-97.1"])
    rows.append(["Y77", "Slipped Point", "Nowhere", "TX", "USA", "402.5", "-97.1"])
    rows.sort(key=lambda r: r[0])
    return _csv(["iata", "name", "city", "state", "country", "latitude", "longitude"], rows)


def wti_editions() -> dict[str, bytes]:
    """Three editions: the second withdraws a holiday's row and revises a price; the last one is also `sample.csv`."""
    dice = random.Random(1986)
    price, rows = 71.0, []
    day = date(2023, 1, 3)
    while day <= date(2024, 10, 31):
        if day.weekday() < 5:
            price = max(40.0, price + dice.gauss(0, 1.2))
            rows.append([f"{day:%Y-%m-%d}", _g(price, 2)])
        day += timedelta(days=1)
    holiday = "2024-10-14"
    header = ("Date", "Price")
    first = [r for r in rows if r[0] <= "2024-10-18"]
    second = [[d, _g(float(p) + 0.05, 2)] if d == "2024-10-17" else [d, p] for d, p in rows if d != holiday and d <= "2024-10-24"]
    third = [[d, _g(float(p) + 0.05, 2)] if d == "2024-10-17" else [d, p] for d, p in rows if d != holiday]
    editions = {"2024-10-21": first, "2024-10-28": second, "2024-11-04": third}
    return {d: _csv(header, r, end="\r\n") for d, r in editions.items()}


def noaa_seattle_weather() -> bytes:
    dice = random.Random(2012)
    rows: list[list[str]] = []
    for i in range(730):
        day = date(2012, 1, 1) + timedelta(days=i)
        mean = 11.5 - 7.5 * math.cos(2 * math.pi * (i - 20) / 365) + dice.gauss(0, 2)
        wet = dice.random() < (0.6 if day.month in (1, 2, 3, 10, 11, 12) else 0.25)
        rain = dice.expovariate(0.2) + 0.2 if wet else 0.0
        spread = dice.uniform(1.2, 4 if wet else 6.5)
        word = ("snow" if mean < 0 else "rain" if rain > 0.6 else "drizzle") if wet else ("fog" if dice.random() < 0.1 else "sun")
        rows.append(
            [f"{day:%Y-%m-%d}", f"{rain:.1f}", f"{mean + spread:.1f}", f"{mean - spread:.1f}", f"{dice.uniform(0.5, 8):.1f}", word]
        )
    rows[30][2], rows[30][3] = rows[30][3], rows[30][2]
    rows[60][1], rows[90][5] = "-1.0", "sunny"
    return _csv(["date", "precipitation", "temp_max", "temp_min", "wind", "weather"], rows)


def incheon_airport_monthly() -> bytes:
    dice = random.Random(2002)
    rows: list[list[str]] = []
    for i in range(120):
        year, month = 2010 + i // 12, i % 12 + 1
        growth = 1 + i / 110
        a, b = (round(8500 * growth * dice.uniform(0.95, 1.05)) for _ in range(2))
        p, q = (round(1_350_000 * growth * dice.uniform(0.9, 1.1)) for _ in range(2))
        c, d = (round(105_000 * growth**0.3 * dice.uniform(0.93, 1.07)) for _ in range(2))
        # Cargo is rounded after it is summed: now and then one tonne is missing.
        rows.append([f"{year}-{month:02d}", *map(str, (a, b, a + b, p, q, p + q, c, d, c + d - (i % 4 == 1)))])
    rows[20][0] = "2011-13"
    rows[33][7] = "-"
    header = "기간,운항도착,운항출발,운항계,여객도착,여객출발,여객계,화물도착,화물출발,화물계"
    return _csv(header.split(","), rows, "cp949", "\r\n")


def mois_legal_dong_codes() -> bytes:
    """An invented province of invented towns: the codes begin with 99, which the ministry does not use."""
    rows = [["9900000000", "마당특별시", "존재"]]
    for county in range(1, 13):
        name = f"마당특별시 {'가나다라마바사아자차카타'[county - 1]}람구"
        rows.append([f"99{county * 10:03d}00000", name, "존재"])
        for town in range(1, 31):
            end = " " if (county, town) == (3, 7) else ""
            gone = (county * town) % 7 == 0
            rows.append(
                [
                    f"99{county * 10:03d}{100 + town}00",
                    f"{name} {'솔별달해강들뫼샘숲돌'[town % 10]}{'빛내골말터'[town % 5]}{town}동{end}",
                    "폐지" if gone else "존재",
                ]
            )
    rows.insert(40, ["990101090", "마당특별시 가람구 짧은동", "존재"])
    rows.insert(80, ["9901019900", "마당특별시 가람구 모름동", "보류"])
    rows.append(["9900000000", "마당특별시", "존재"])
    return _csv(("법정동코드", "법정동명", "폐지여부"), rows, "cp949", "\r\n")


def _grade(value: float, *cuts: float) -> str:
    """Four grades by three cuts."""
    return str(1 + sum(value > cut for cut in cuts))


def airkorea_sido_hourly() -> bytes:
    """The items of one hour of the gateway's answer as a JSON list; the stand-in pages through them."""
    dice = random.Random(20260430)
    items: list[dict[str, str | None]] = []
    for number, (sido, station, network) in enumerate(PLACES["stations"]):
        dust = max(4, round(dice.gauss(38, 14)))
        fine = max(2, round(dust * dice.uniform(0.4, 0.7)))
        so2, co, o3, no2 = dice.uniform(0.001, 0.006), dice.uniform(0.2, 0.8), dice.uniform(0.01, 0.07), dice.uniform(0.005, 0.04)
        khai = round(dust * 1.1 + 15)
        item: dict[str, str | None] = {
            "stationName": station, "mangName": network, "sidoName": sido, "dataTime": "2026-04-30 24:00",
            "so2Value": f"{so2:.3f}", "coValue": f"{co:.1f}", "o3Value": f"{o3:.3f}", "no2Value": f"{no2:.3f}",
            "pm10Value": str(dust), "pm10Value24": str(dust + 2), "pm25Value": str(fine), "pm25Value24": str(fine + 1),
            "khaiValue": str(khai), "khaiGrade": _grade(khai, 50, 100, 250), "so2Grade": "1", "coGrade": "1",
            "o3Grade": _grade(o3, 0.03, 0.09, 0.15), "no2Grade": _grade(no2, 0.03, 0.06, 0.2),
            "pm10Grade": _grade(dust, 30, 80, 150), "pm10Grade1h": _grade(dust, 30, 80, 150),
            "pm25Grade": _grade(fine, 15, 35, 75), "pm25Grade1h": _grade(fine, 15, 35, 75),
            "so2Flag": None, "coFlag": None, "o3Flag": None, "no2Flag": None, "pm10Flag": None, "pm25Flag": None,
        }  # fmt: skip
        if number % 17 == 5:
            item.update(
                pm10Value="-", pm10Value24="-", pm10Grade=None, pm10Grade1h=None, pm10Flag="점검및교정", khaiValue="-", khaiGrade=""
            )
        if number % 29 == 11:
            item.update(o3Value="-", o3Grade=None, o3Flag="통신장애")
        if number == 77:
            item["dataTime"] = "2026-04-30 11:00"  # a dead station keeps sending its last hour
        items.append(item)
    items[30]["so2Value"] = "-0.004"
    items[90]["dataTime"] = "2026-04-30"
    lines = ",\n".join(json.dumps(i, ensure_ascii=False) for i in items)
    return f"[\n{lines}\n]\n".encode()


def samples() -> dict[str, bytes]:
    """Every sample by its path below `assets/feeds`."""
    files = {
        "kr.seoul.bike_hourly/sample.csv": seoul_bike_hourly(),
        "us.usgs.earthquakes_week/sample.geojson": usgs_earthquakes_week(),
        "us.faa.bird_strikes/sample.csv": faa_bird_strikes(),
        "us.faa.airports/sample.csv": faa_airports(),
        "us.noaa.seattle_weather/sample.csv": noaa_seattle_weather(),
        "kr.incheon.airport_monthly/sample.csv": incheon_airport_monthly(),
        "kr.mois.legal_dong_codes/sample.csv": mois_legal_dong_codes(),
        "kr.airkorea.sido_hourly/sample.json": airkorea_sido_hourly(),
    }
    editions = wti_editions()
    files |= {f"us.eia.wti_daily/sample.{day}.csv": body for day, body in editions.items()}
    return files | {"us.eia.wti_daily/sample.csv": editions[max(editions)]}


def main() -> int:
    different = [path for path, body in samples().items() if not (FEEDS / path).exists() or (FEEDS / path).read_bytes() != body]
    if "--check" in sys.argv[1:]:
        sys.stdout.writelines(f"{path} differs from what the generator makes\n" for path in different)
        return 1 if different else 0
    for path, body in samples().items():
        (FEEDS / path).write_bytes(body)
    return 0


if __name__ == "__main__":
    sys.exit(main())
