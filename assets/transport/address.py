"""Which addresses and redirects the transport may follow. Pure decisions; opening sockets is `http.py`.

A feed is configuration that many hands write, and an agency's redirect is input: neither may lead into the machine,
the local network or a cloud's metadata service.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import SplitResult, urljoin, urlsplit

MAX_REDIRECTS = 5

_PRIVATE = tuple(ip_network(n) for n in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"))
_METADATA = frozenset(ip_address(a) for a in ("169.254.169.254", "fd00:ec2::254", "100.100.100.200"))
_NAT64 = ip_network("64:ff9b::/96")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def refusal(address: str, *, allow_private: bool) -> str | None:
    """Why a resolved address must not be connected to, or None. Loopback is never allowed here (only through connect_to)."""
    ip = _embedded(ip_address(address.partition("%")[0]))
    if ip in _METADATA:
        return f"{address} is a cloud's metadata service"
    if any(ip in network for network in _PRIVATE if network.version == ip.version):
        return None if allow_private else f"{address} is a private address"
    for kind in ("is_loopback", "is_link_local", "is_multicast", "is_unspecified", "is_reserved"):
        if getattr(ip, kind):
            return f"{address} is a {kind.removeprefix('is_').replace('_', '-')} address"
    return None if ip.is_global else f"{address} is no public address"


def _embedded(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 address stands for (mapped, 6to4, Teredo, NAT64), else the address itself."""
    if isinstance(ip, IPv4Address):
        return ip
    if inner := ip.ipv4_mapped or ip.sixtofour:
        return inner
    if ip.teredo is not None:
        return ip.teredo[1]
    if ip in _NAT64 or (int(ip) >> 32 == 0 and int(ip) > 1):  # NAT64, and the old IPv4-compatible form
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip


def origin_form(url: str) -> str:
    """What a request line says of the address: path and query, no fragment (RFC 9112, 3.2.1)."""
    base, mark, query = url.partition("#")[0].partition("?")
    return f"{_split(base).path or '/'}{mark}{query}"


def host_of(url: str) -> str:
    """Host and port as the address writes them, without a user's name: what the Host header says."""
    return _base(url).netloc.rpartition("@")[2]


def hostname_of(url: str) -> str:
    """The host alone, in lower case; an IPv6 address without its brackets."""
    return _base(url).hostname or ""


def _base(url: str) -> SplitResult:
    return _split(url.partition("#")[0].partition("?")[0])


@lru_cache(maxsize=64)
def _split(base: str) -> SplitResult:
    """An address without its query, which is all that the pages of an answer differ in."""
    return urlsplit(base)


@dataclass(frozen=True)
class Refused:
    """A redirect that is not followed; `why` is a sentence without the target's query."""

    why: str


@dataclass(frozen=True)
class Follow:
    """A redirect that is followed. `same_origin`: only then may secrets go along."""

    url: str
    same_origin: bool


def redirect(url: str, location: str, *, hosts: Collection[str], followed: int) -> Follow | Refused:
    """Decide one redirect. `url`: where we were; `hosts`: the feed's redirect_hosts; `followed`: redirects so far."""
    if followed >= MAX_REDIRECTS:
        return Refused(f"it redirected more than {MAX_REDIRECTS} times")
    try:
        here, there = urlsplit(url), urlsplit(urljoin(url, location))
        here_port = here.port or _DEFAULT_PORTS.get(here.scheme)
        there_port = there.port or _DEFAULT_PORTS.get(there.scheme)
    except ValueError:
        return Refused("it redirected to something that is no URL")
    if there.scheme not in _DEFAULT_PORTS or not there.hostname:
        return Refused("it redirected to something that is no http address")
    if here.scheme == "https" and there.scheme == "http":
        return Refused(f"it redirected from https to plain http ({there.hostname})")
    if there.username is not None or there.password is not None:
        return Refused(f"it redirected to {there.hostname} with a user name in the URL")
    same_host = there.hostname == here.hostname
    if not same_host and there.hostname not in {h.lower() for h in hosts}:
        return Refused(f"it redirected to another host, {there.hostname}")
    if there_port not in (here_port, _DEFAULT_PORTS[there.scheme]):
        return Refused(f"it redirected to port {there_port} of {there.hostname}")
    upgraded = here.scheme == "http" and there.scheme == "https" and there_port == 443
    same_origin = same_host and (there_port == here_port or upgraded)
    return Follow(there._replace(fragment="").geturl(), same_origin)
