"""The transport against a real server on loopback: redirects, addresses, TLS, secrets."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from assets.errors import SettingsError
from assets.protocols.kernel import Auth, BadRequest, Malformed, Request, Tls
from assets.transport import address
from assets.transport.exchange import Exchange
from assets.transport.http import HttpTransport, TransportSettings
from assets.transport.secrets import Secrets
from tests.loopback import Answer, Loopback, Seen, loopback
from tests.transport.drop_servers import certificate_for
from tests.transport.http_scene import KEY, Source, ask

# --- redirects and addresses ---


def _redirecting(location: str, status: int = 302) -> Callable[[Seen], Answer]:
    return lambda seen: Answer(b"arrived") if seen.path == "/there" else Answer(b"moved", status, {"Location": location})


@pytest.mark.parametrize("location", ["/there", "http://agency.example/there", "https://agency.example/there"])
def test_a_redirect_on_the_same_host_is_followed_and_remembered(tmp_path: Path, location: str) -> None:
    exchange, server = ask(_redirecting(location), tmp_path)
    assert exchange.body.read_bytes() == b"arrived"
    assert [hop.status for hop in exchange.hops] == [302]
    assert exchange.hops[0].body.read_bytes() == b"moved"
    assert len(server.seen) == 2


@pytest.mark.parametrize(
    ("start", "location", "says"),
    [
        ("http://agency.example/a", "http://elsewhere.example/there", "another host, elsewhere.example"),
        ("https://agency.example/a", "http://agency.example/there", "plain http"),
        ("http://agency.example/a", "http://agency.example:2375/there", "port 2375"),
        ("http://agency.example/a", "file:///etc/passwd", "no http address"),
        ("http://agency.example/a", "http://u:p@agency.example/there", "user name"),
        ("http://agency.example/a", "http://[::1/there", "no URL"),
        ("http://agency.example/a", "/again", "more than 5"),
    ],
)
def test_other_redirects_are_refused_in_a_sentence(tmp_path: Path, start: str, location: str, says: str) -> None:
    exchange, server = ask(_redirecting(location), tmp_path, url=start)
    assert isinstance(exchange.verdict, BadRequest)
    assert says in exchange.verdict.reason
    assert all(seen.path != "/there" for seen in server.seen)


@pytest.mark.parametrize("host", ["10.0.0.8", "127.0.0.1", "169.254.169.254", "[::ffff:10.0.0.8]", "[fd00:ec2::254]"])
def test_an_allowed_redirect_host_that_is_a_private_address_is_still_refused(tmp_path: Path, host: str) -> None:
    exchange, server = ask(_redirecting(f"http://{host}/there"), tmp_path, redirect_hosts=(host.strip("[]"),))
    assert isinstance(exchange.verdict, BadRequest)
    assert len(server.seen) == 1


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["203.0.114.1", "10.1.2.3"], ["::ffff:192.168.0.1"], ["fe80::1"]])
def test_a_name_that_resolves_inwards_is_never_connected_to(tmp_path: Path, addresses: list[str]) -> None:
    async def run() -> tuple[Exchange, Loopback]:
        async def lookup(host: str, port: int) -> list[str]:
            return addresses

        async with loopback(lambda seen: Answer(b"secret of the machine")) as server:
            url = server.url.replace("127.0.0.1", "agency.example")
            async with HttpTransport(TransportSettings(), lookup=lookup) as transport:
                source = Source()
                secrets = Secrets({}, feed="kr.x.y", auth=source.auth)
                return await transport.exchange(Request(url), source, tmp_path, secrets=secrets), server

    exchange, server = asyncio.run(run())
    assert isinstance(exchange.verdict, BadRequest)
    assert "agency.example resolves to" in exchange.verdict.reason
    assert exchange.origin == "agency"
    assert server.seen == []


def test_an_allowed_host_gets_neither_the_key_nor_the_authorization(tmp_path: Path) -> None:
    def answer(seen: Seen) -> Answer:
        if seen.headers["host"] == "files.example":
            return Answer(b"arrived")
        assert KEY in seen.headers["x-key"]
        key = seen.target.partition("serviceKey=")[2]
        return Answer(b"", 302, {"Location": f"http://files.example/f?serviceKey={key}&n=1"})

    exchange, server = ask(
        answer,
        tmp_path,
        url="http://agency.example/d?serviceKey={secret:AGENCY_KEY}",
        key=KEY,
        headers={"X-Key": "{secret:AGENCY_KEY}", "Authorization": "Basic eA=="},
        redirect_hosts=("files.example",),
    )
    assert exchange.body.read_bytes() == b"arrived"
    assert server.seen[1].target == "/f?n=1"
    assert not {"x-key", "authorization"} & set(server.seen[1].headers)


IN_A_BODY = b'{"registrationkey": "{secret:AGENCY_KEY}", "seriesid": ["{secret:OTHER}"]}'


def test_a_key_in_a_body_is_filled_in_as_json_when_it_is_sent(tmp_path: Path) -> None:
    key = 'with "quotes" and \\'
    exchange, server = ask(lambda seen: Answer(b"you sent " + seen.body), tmp_path, key=key, body=IN_A_BODY)
    assert json.loads(server.seen[0].body) == {"registrationkey": key, "seriesid": ["{secret:OTHER}"]}
    assert exchange.request.body == IN_A_BODY and exchange.masked and b"quotes" not in exchange.body.read_bytes()


@pytest.mark.parametrize(
    ("status", "host", "asked"),
    [(307, "agency.example", 2), (307, "files.example", 1), (308, "files.example", 1), (302, "files.example", 2)],
)
def test_a_key_in_a_body_goes_to_no_other_host(tmp_path: Path, status: int, host: str, asked: int) -> None:
    """A 302 is followed without the body, so that nothing is told."""
    away = _redirecting(f"http://{host}/there", status)
    exchange, server = ask(away, tmp_path, key=KEY, body=IN_A_BODY, redirect_hosts=("files.example",))
    assert len(server.seen) == asked
    assert all(KEY.encode() not in seen.body for seen in server.seen if seen.headers["host"] != "agency.example")
    if asked == 1:
        assert isinstance(exchange.verdict, BadRequest) and "with the key in the body" in exchange.verdict.reason


# --- TLS ---


def _certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A self-signed certificate for agency.example, and a server context that uses it."""
    pem = certificate_for("agency.example", folder / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return pem, context


@pytest.mark.parametrize(
    ("host", "trusted", "legacy", "arrives"),
    [
        ("agency.example", False, False, False),
        ("agency.example", False, True, False),
        ("agency.example", True, False, True),
        ("agency.example", True, True, True),
        ("other.example", True, False, False),
    ],
)
def test_certificates_are_always_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, trusted: bool, legacy: bool, arrives: bool
) -> None:
    monkeypatch.setattr(address, "refusal", lambda ip, *, allow_private: None)  # or loopback could not be reached by TLS at all
    pem, context = _certificate(tmp_path)

    async def run() -> Exchange:
        async def lookup(name: str, port: int) -> list[str]:
            return ["127.0.0.1"]

        source = Source(tls=Tls(ca_bundle=str(pem) if trusted else None, legacy=legacy))
        async with loopback(lambda seen: Answer(b"rows"), context) as server:
            url = server.url.replace("127.0.0.1", host)
            async with HttpTransport(TransportSettings(contact="a@b.example"), lookup=lookup) as transport:
                secrets = Secrets({}, feed="kr.x.y", auth=source.auth)
                exchange = await transport.exchange(Request(url), source, tmp_path, secrets=secrets)
            assert [seen.headers["user-agent"].endswith(" (+a@b.example)") for seen in server.seen] == [True] * arrives
            return exchange

    exchange = asyncio.run(run())
    assert exchange.origin == "agency"
    if arrives:
        assert exchange.body.read_bytes() == b"rows"
    else:
        assert isinstance(exchange.verdict, BadRequest)
        assert f"the certificate of {host} is not trusted" in exchange.verdict.reason


# --- secrets ---

FORMS = ("aB3%2B%2Fx9Qz7Lm0Pk2Rt5Wy8%3D%3D", "aB3%252B%252Fx9Qz7Lm0Pk2Rt5Wy8%253D%253D", KEY, "aB3%2b%2fx9Qz7Lm0Pk2Rt5Wy8%3d%3d")


def test_a_key_goes_out_encoded_once_and_comes_back_masked(tmp_path: Path) -> None:
    echo = b"you sent " + " or ".join(FORMS).encode() + b" \xff raw"

    def answer(seen: Seen) -> Answer:
        return Answer(echo, headers={"X-Echo": KEY, "Set-Cookie": f"k={FORMS[0]}"})

    exchange, server = ask(answer, tmp_path, url="http://agency.example/d?serviceKey={secret:AGENCY_KEY}", key=KEY)
    assert server.seen[0].target == f"/d?serviceKey={FORMS[0]}"
    body = exchange.body.read_bytes()
    assert len(body) == len(echo)
    assert body.startswith(b"you sent ****")
    assert exchange.masked
    assert exchange.url == "http://agency.example/d?serviceKey=***"
    everything = repr(exchange).encode() + body + exchange.head + exchange.tail
    assert b"Qz7Lm0Pk2Rt5Wy8" not in everything


def test_a_key_repeated_inside_a_compressed_body_is_not_kept(tmp_path: Path) -> None:
    body = gzip.compress(b'{"key": "%s"}' % KEY.encode())
    exchange, server = ask(lambda seen: Answer(body, headers={"Content-Encoding": "gzip"}), tmp_path, key=KEY)
    assert server.seen[0].headers["accept-encoding"] == "identity"
    assert isinstance(exchange.verdict, Malformed)
    assert exchange.body.read_bytes() == b""
    assert exchange.masked
    assert [p for p in tmp_path.iterdir() if KEY.encode() in p.read_bytes()] == []


def test_a_missing_key_names_the_variable_and_the_feed() -> None:
    with pytest.raises(SettingsError, match=r"AGENCY_KEY.*kr\.x\.y"):
        Secrets({}, feed="kr.x.y", auth=Auth(kind="query_key", name="k", secret="AGENCY_KEY"))


def test_connect_to_must_be_an_address() -> None:
    with pytest.raises(SettingsError):
        TransportSettings(connect_to="https://127.0.0.1:1/x")
