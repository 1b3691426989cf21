"""Where the link to the next page leads, and whether it may be followed (protocols.md 3.4). Pure.

A link is input: it may name a machine behind the agency's proxy, plain http, another host, or hold a placeholder that the
transport would fill. So it is followed on the feed's own origin or a declared host, and never with a key to anywhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote, unquote_plus, urljoin, urlsplit

from assets.protocols.answers.http_answers import keyed
from assets.protocols.kernel import Auth, BadRequest, Malformed, Outcome
from assets.transport import address

LONGEST_LINK = 8_000
_PREFERRED = ("geo+json", "json", "")
_PORTS = {"http": 80, "https": 443}
_AS_IT_CAME = "%/:?#[]@!$&'()*+,;=-._~"


def next_of(links: Any, here: str, items: str, auth: Auth, hosts: tuple[str, ...]) -> str | Outcome | None:
    """The address of the next page, without a key; None where the page has no such link; the outcome of one that is of no use.

    `here`: the page's own address; `items`: the address of the collection's items; `hosts`: others that the feed trusts.
    """
    if links is None:
        return None
    if not isinstance(links, list) or not all(isinstance(link, dict) for link in links):
        return Malformed("links that are no list of links: whether there is a next page cannot be told")
    found = [link for link in links if _text(link, "rel").lower() == "next"]
    if not found:
        return None
    link = min(found, key=_preference)
    href = _text(link, "href")
    if not href or len(href) > LONGEST_LINK:
        return Malformed("a next link without an address")
    if _text(link, "method").upper() not in ("", "GET"):
        return Malformed("a next link that is no GET")
    return _followed(href, here, items, auth, hosts)


def _text(link: Mapping[str, Any], name: str) -> str:
    value = link.get(name)
    return value.strip() if isinstance(value, str) else ""


def _preference(link: Mapping[str, Any]) -> int:
    """Some servers give one next link for each format."""
    kind = _text(link, "type")
    return next((n for n, wanted in enumerate(_PREFERRED) if wanted in kind and (wanted or not kind)), len(_PREFERRED))


def _followed(href: str, here: str, items: str, auth: Auth, hosts: tuple[str, ...]) -> str | Outcome:
    decision = address.redirect(here, href, hosts=hosts, followed=0)
    if isinstance(decision, address.Follow) and not (decision.same_origin and auth.kind == "path_key"):
        return _clean(decision.url, auth)
    try:
        # behind a proxy a server names itself as it was started; the collection's own items are known all the same
        there = urlsplit(urljoin(here, href))
        ours = "/collections/" + unquote(items.rstrip("/")).rpartition("/collections/")[2]
        if there.scheme in _PORTS and there.hostname and unquote(there.path).rstrip("/").endswith(ours):
            return _clean(f"{items}?{there.query}", auth)
    except ValueError:
        pass
    why = decision.why.replace("it redirected", "it leads") if isinstance(decision, address.Refused) else "it leads elsewhere"
    return BadRequest(f"the link to the next page is not followed: {why}; see source.redirect_hosts and source.paging")


def _clean(url: str, auth: Auth) -> str:
    """Without our key, which the server may have echoed, and without anything that the transport takes for a secret's place."""
    base, mark, query = url.partition("?")
    name = (auth.name or "key").lower() if auth.kind == "query_key" else None
    kept = [pair for pair in query.split("&") if name is None or unquote_plus(pair.partition("=")[0]).lower() != name]
    parts = urlsplit(base)
    where = base if auth.kind == "path_key" else parts._replace(path=_sendable(parts.path)).geturl()
    return f"{where}{mark}{_sendable('&'.join(kept))}" if any(kept) else where


def _sendable(text: str) -> str:
    """The text as it may stand in a request: braces, spaces and control characters encoded, all else as it came."""
    return quote(text, safe=_AS_IT_CAME)


def keyed_at_home(url: str, items: str, headers: Mapping[str, str], auth: Auth) -> tuple[str, dict[str, str]]:
    """The address and headers with the key's placeholder in its place, where the address is on the feed's own origin."""
    return keyed(url, headers, auth if _origin(url) == _origin(items) else Auth())


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)
