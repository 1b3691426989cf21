"""The stand-in over TLS: a collector accepts the certificate of an authority that its feed names, and no flawed one, ever."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from assets.archive.ledger import Ledger
from assets.errors import FetchFailed
from assets.protocols.fetching import FetchDeps, fetch
from assets.store import Store
from assets.transport import address
from assets.transport.http import TransportSettings
from deploy.agency.app import Agency, AgencyConfig
from deploy.agency.running import running_agency, running_server
from tests.protocols.fetching_scene import Clock
from tests.protocols.standin_scene import NOW, feed_for

AIRPORTS = "us.faa.airports"
HOST, PATH = "www.faa.gov", "/air_traffic/flight_info/aeronav/aero_data/NASR_Subscription/airports.csv"


@pytest.fixture(scope="module")
def agency(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Agency, int, Path]]:
    folder = tmp_path_factory.mktemp("tls")
    with running_server(AgencyConfig(today=NOW.date()), tls=folder) as (served, url):
        port = urlsplit(url).port
        assert port is not None
        yield served, port, folder / "authority.pem"


def collected(port: int, folder: Path, **tls: Any) -> tuple[str, Ledger]:
    """The outcome of a fetch that finds the agency's name on loopback; and what the ledger keeps."""
    source = {"protocol": "http_file", "url": f"https://{HOST}:{port}{PATH}", "format": "csv", "tls": tls}
    feed = feed_for(source, ["iata", "name"])
    ledger = Ledger(f"sqlite:///{folder}/ledger.db")

    async def lookup(name: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    deps = FetchDeps(
        Store(f"file://{folder}/store"), ledger, TransportSettings(), {}, folder / "work", Clock(), random.Random(1), lookup=lookup
    )
    try:
        return asyncio.run(fetch(feed, deps=deps)).outcome, ledger
    except FetchFailed as failed:
        assert HOST in str(failed) and "not trusted" in str(failed)
        return failed.outcome, ledger


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [(None, "Ok"), ("tls_bad_cert", "BadRequest"), ("tls_bad_cert:2", "BadRequest"), ("tls_bad_cert:3", "BadRequest")],
)
def test_a_flawed_certificate_ends_the_fetch_before_anything_is_asked(
    agency: tuple[Agency, int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str | None, outcome: str
) -> None:
    """Untrusted, expired, or of another name; each once, because asking again mends none of them."""
    monkeypatch.setattr(address, "refusal", lambda ip, *, allow_private: None)  # or loopback could not be reached by name
    served, port, authority = agency
    served.switch(AIRPORTS, None)
    served.requests.clear()
    assert served.certificates is not None
    served.certificates.greeted.clear()
    if fault:
        served.switch(AIRPORTS, fault)
    found, ledger = collected(port, tmp_path, ca_bundle=str(authority))
    assert found == outcome
    assert served.certificates.greeted == [HOST]
    assert len(served.requests) == (outcome == "Ok")
    last = ledger.last("kr.test.rows")
    assert last is not None and last.outcome == outcome


def test_an_authority_that_nobody_named_is_not_trusted_and_old_ciphers_do_not_help(
    agency: tuple[Agency, int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(address, "refusal", lambda ip, *, allow_private: None)
    served, port, _ = agency
    served.switch(AIRPORTS, None)
    served.requests.clear()
    assert collected(port, tmp_path, legacy=True)[0] == "BadRequest" and served.requests == []


def test_without_tls_there_is_no_certificate_to_be_bad() -> None:
    with pytest.raises(ValueError, match="needs the stand-in to speak TLS"):
        Agency(AgencyConfig()).switch(AIRPORTS, "tls_bad_cert")


def test_the_standin_says_where_it_speaks_tls(tmp_path: Path) -> None:
    with running_agency(tls=tmp_path) as url:
        assert url.startswith("https://127.0.0.1:") and (tmp_path / "authority.pem").exists()
