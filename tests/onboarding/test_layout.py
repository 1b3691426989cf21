"""What a file is, from its bytes: every format, container, encoding and dialect that agencies hand out."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.errors import UnreadableSource
from assets.onboarding.layout import LOOK_BYTES, layout_of
from assets.onboarding.looking import look_at_file

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
CSV = "도서관명,기준월,대출권수\n중앙,2026-09,12\n강변,2026-10,4\n"


def laid(tmp_path: Path, body: bytes, name: str = "rows.csv") -> Any:
    path = tmp_path / "body"
    path.write_bytes(body)
    return layout_of(path, name)


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, body in members.items():
            # A fixed date: the bytes are part of a test's name.
            archive.writestr(zipfile.ZipInfo(name.replace("__", "."), (2026, 1, 1, 0, 0, 0)), body)
    return out.getvalue()


def locked(archive: bytes) -> bytes:
    """A ZIP of one member, with the mark of a password in both places that have it."""
    entry = archive.index(b"PK\x01\x02")
    return archive[:6] + b"\x01" + archive[7 : entry + 8] + b"\x01" + archive[entry + 9 :]


def packed_by(archive: bytes, method: int) -> bytes:
    """A ZIP of one member that says it is compressed by this method: 9 is the Deflate64 of the Windows Explorer."""
    entry = archive.index(b"PK\x01\x02")
    return archive[:8] + bytes([method]) + archive[9 : entry + 10] + bytes([method]) + archive[entry + 11 :]


SERIES = {"action": "Replace", "series": {"0:0": {"attributes": [0], "observations": {"0": [1.1, 0], "1": [1.2, 0]}}}}
CODES = {"dimensions": {"series": [{"id": "FREQ", "values": [{"id": "M"}, {"id": "A"}, {"id": "Q"}]}]}}
SDMX_JSON = {
    "before 1.0": {"header": {"id": "x"}, "dataSets": [SERIES], "structure": CODES},
    "1.0": {"meta": {"id": "x"}, "data": {"dataSets": [SERIES], "structure": CODES}},
    "2.0": {"meta": {"id": "x"}, "data": {"structures": [CODES], "dataSets": [{"structure": 0, "series": SERIES["series"]}]}},
    "flat": {"data": {"dataSets": [{"observations": {"0:0": [1.1]}}], "structure": CODES}},
}


@pytest.mark.parametrize("name", ["ecb.json", "ecb.zip"])
@pytest.mark.parametrize("version", SDMX_JSON)
def test_sdmx_json_is_called_what_it_is_and_no_table(version: str, name: str, tmp_path: Path) -> None:
    body = json.dumps(SDMX_JSON[version]).encode()
    with pytest.raises(UnreadableSource, match=r"SDMX-JSON.*sdmx21.*CSV"):
        laid(tmp_path, body if name == "ecb.json" else zipped(ecb__json=body), name)


@pytest.mark.parametrize("version", SDMX_JSON)
def test_sdmx_json_beside_the_address_of_an_sdmx_service_is_no_csv(version: str, tmp_path: Path) -> None:
    (tmp_path / "body").write_text(json.dumps(SDMX_JSON[version]), "utf-8")
    source = {"protocol": "sdmx21", "base_url": "https://sdmx.example/rest", "flow": "EXR"}
    with pytest.raises(UnreadableSource, match=r"SDMX-JSON.*without --file"):
        look_at_file(tmp_path / "body", "ecb.json", country="KR", source=source)


@pytest.mark.parametrize("version", ["before 1.0", "1.0", "flat"])
def test_sdmx_json_that_is_too_large_to_be_looked_at_whole_is_known_by_its_beginning(version: str, tmp_path: Path) -> None:
    more = {f"{n}:0": {"observations": {"0": [n]}} for n in range(150_000)}
    told = json.dumps(SDMX_JSON[version]).replace('"0:0": ', json.dumps(more)[1:-1] + ', "0:0": ')
    assert len(told) > LOOK_BYTES
    with pytest.raises(UnreadableSource, match="SDMX-JSON"):
        laid(tmp_path, told.encode(), "ecb.json")


def test_a_list_called_data_sets_is_a_list(tmp_path: Path) -> None:
    found = laid(tmp_path, b'{"dataSets": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]}', "catalogue.json")
    assert found.shape == {"format": "json", "records_path": "dataSets"}


@pytest.mark.parametrize(("coding", "declared"), [("utf-8", None), ("utf-8-sig", None), ("cp949", "cp949"), ("utf-16", None)])
def test_encodings(coding: str, declared: str | None, tmp_path: Path) -> None:
    found = laid(tmp_path, CSV.encode(coding))
    assert (found.shape, found.encoding) == ({"format": "csv"}, declared)


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("a\tb\n1\t2\n", {"format": "tsv"}),
        ("a;b\n1,5;2\n2,5;3\n", {"format": "csv", "csv": {"delimiter": ";"}}),
        ("a|b\n1|2\n", {"format": "csv", "csv": {"delimiter": "|"}}),
        ("월별 현황\n\na,b,c\n1,2,3\n4,5,6\n", {"format": "csv", "csv": {"header_row": 3}}),
        ('a,b\n"1\n2",3\n"4,5",6\n', {"format": "csv"}),
        ("1,2.5\n2,3.5\n", {"format": "csv", "csv": {"header_row": 0, "columns": ["column_1", "column_2"]}}),
    ],
)  # fmt: skip
def test_dialects(text: str, shape: dict[str, Any], tmp_path: Path) -> None:
    found = laid(tmp_path, text.encode())
    assert found.shape == shape
    path = tmp_path / "rows.csv"
    path.write_bytes(text.encode())
    sample = look_at_file(path, "rows.csv", country="US")
    assert sample.rows and len(sample.sources) > 1


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        ([{"a": 1}], {"format": "json"}),
        ({"meta": [1], "data": {"rows": [{"a": 1}, {"a": 2}]}}, {"format": "json", "records_path": "data.rows"}),
        ({"type": "FeatureCollection", "features": []}, {"format": "geojson"}),
    ],
)
def test_json_and_where_its_records_are(value: Any, shape: dict[str, Any], tmp_path: Path) -> None:
    assert laid(tmp_path, json.dumps(value).encode(), "x.json").shape == shape


def test_json_lines_xml_and_containers(tmp_path: Path) -> None:
    assert laid(tmp_path, b'{"a":1}\n{"a":2}\n', "x.json").shape == {"format": "jsonl"}
    xml = b"<r><h><t>1</t></h><rows><row><a>1</a></row><row><a>2</a></row></rows></r>"
    assert laid(tmp_path, xml, "x").shape == {"format": "xml", "records_path": "r/rows/row"}
    parts = b"<r><rows><row><a>1</a><b><c>1</c></b></row><row><a>2</a><b><c>1</c></b></row></rows></r>"
    assert laid(tmp_path, parts, "x").shape == {"format": "xml", "records_path": "r/rows/row"}
    assert laid(tmp_path, b"<r><rows><row><a>1</a></row></rows></r>", "x").shape["records_path"] == "r/rows/row"
    assert laid(tmp_path, gzip.compress(CSV.encode("cp949")), "x.csv.gz").shape == {"format": "csv"}
    assert laid(tmp_path, gzip.compress(CSV.encode()), "download").shape == {"format": "csv", "container": "gzip"}
    assert laid(tmp_path, zipped(rows__csv=CSV.encode()), "x.zip").shape == {"format": "csv"}
    several = laid(tmp_path, zipped(a__csv=CSV.encode(), b__csv=CSV.encode(), note__pdf=b"%PDF-"), "get.do")
    assert several.shape == {"format": "csv", "container": "zip", "member": "*.csv"}
    assert [note.key for note in several.notes] == ["members"]


@pytest.mark.parametrize(
    ("body", "name", "address", "container"),
    [
        (zipped(rows__csv=CSV.encode()), "loans.zip", "https://a.example/download.do?file=7", "zip"),
        (gzip.compress(CSV.encode()), "loans.csv.gz", "https://a.example/download.do?file=loans.csv.gz", "gzip"),
        (CSV.encode(), "loans.csv", "https://a.example/loans.zip", "none"),
        (zipped(rows__csv=CSV.encode()), "download", "https://a.example/loans.ZIP?v=2", None),
        (CSV.encode(), "loans.csv", "https://a.example/download.do?file=7", None),
    ],
    ids=["a ZIP by number", "a gzip by name in the query", "no ZIP", "a ZIP by name", "no container by number"],
)
def test_the_container_is_declared_where_the_address_does_not_say_it(
    body: bytes, name: str, address: str, container: str | None, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(body)
    sample = look_at_file(path, name, country="KR", source={"protocol": "http_file", "url": address, "format": "csv"})
    assert (len(sample.rows), sample.source.get("container")) == (2, container)


@pytest.mark.parametrize(
    ("members", "pattern", "note"),
    [
        ({"2025__csv": CSV, "2026__csv": CSV}, "*.csv", "members"),
        ({"2025__csv": f"현황\n{CSV}", "2026__csv": CSV}, "2025.csv", "members_differ"),
        ({"stops__txt": CSV, "trips__txt": "a,b\n1,2\n"}, "stops.txt", "members_differ"),
        ({"loans[2025]__csv": CSV, "loans[2026]__csv": CSV, "codes__csv": "a,b\n1,2\n"}, "loans[[]202*.csv", "members_differ"),
        ({"a1__csv": CSV, "b1__csv": CSV, "codes__csv": "a,b\n1,2\n"}, "a1.csv", "members_differ"),
    ],
)
def test_members_of_other_columns_are_not_read_into_one_table(
    members: dict[str, str], pattern: str, note: str, tmp_path: Path
) -> None:
    body = zipped(**{name: text.encode() for name, text in members.items()})
    found = laid(tmp_path, body, "x.zip")
    assert found.shape["member"] == pattern and [n.key for n in found.notes if "member" in n.key] == [note]
    sample = look_at_file(tmp_path / "body", "x.zip", country="KR")
    assert sample.sources == ("도서관명", "기준월", "대출권수")


@pytest.mark.parametrize(
    ("body", "name", "said"),
    [
        (b"<!DOCTYPE html><html><body>closed</body></html>", "rows.csv", "HTML page"),
        (b"%PDF-1.7 ...", "rows.pdf", "PDF"),
        (b'{"a": 1}', "x.json", "without a list"),
        (b'{"a": [{"b": 1', "x.json", "does not end"),
        (b"   \n  \n", "x.csv", "without a line"),
        (zipped(note__pdf=b"%PDF-"), "x.zip", "without a table"),
        (OLE + bytes(9000) + "EncryptedPackage".encode("utf-16-le"), "x.xlsx", "protected by a password"),
        (OLE + bytes(9000) + "HwpSummaryInformation".encode("utf-16-le"), "x.hwp", "HWP document"),
        (b"PK\x03\x04 broken", "x.zip", "damaged or cut off"),
        (locked(zipped(rows__csv=CSV.encode())), "x.zip", "'rows.csv' is encrypted"),
        (packed_by(zipped(rows__csv=CSV.encode()), 9), "x.zip", "compressed by method 9"),
    ],
)
def test_what_is_no_table_says_what_it_is(body: bytes, name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource, match=said) as caught:
        laid(tmp_path, body, name)
    assert caught.value.mend


def test_real_files(shared_data: Path) -> None:
    found = {
        name: look_at_file(shared_data / name, name, country="KR")
        for name in ("incheon-airport.cp949.csv", "usgs-earthquakes-week.geojson")
    }
    incheon, quakes = found.values()
    assert (incheon.encoding, len(incheon.rows), incheon.sources[0]) == ("cp949", 222, "기간")
    assert (quakes.source["format"], len(quakes.rows)) == ("geojson", 1707) and "properties.mag" in quakes.sources


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.sampled_from(["x.csv", "x.json", "x.xml", "x.zip", "x.gz", "x"]))
def test_any_bytes_are_a_layout_or_refused(tmp_path_factory: pytest.TempPathFactory, body: bytes, name: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(body)
    try:
        found = layout_of(path, name)
    except UnreadableSource:
        return
    assert found.shape["format"]
