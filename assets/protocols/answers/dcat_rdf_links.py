"""What Hydra's words on a page mean for the pages that follow: the link to the next, at the feed's own host, and the total.

Pure; for `dcat_rdf.py` alone. Finding the words in a graph is `tables/readers/dcat_reader.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote, urljoin, urlsplit

from assets.protocols.kernel import PageInfo

TWO, NOWHERE = "a page with two next pages, or two totals", "the link to the next page is no address"


class BadLinks(ValueError):
    """Links or totals that cannot be true. `mend`: what the person who declares the feed can do."""

    def __init__(self, why: str, mend: str = "look at the archived body") -> None:
        super().__init__(why)
        self.mend = mend


def page_info(
    *, page: int, found: int, links: Sequence[str], totals: Sequence[int], here: str, home: str, key: str | None, counted: bool
) -> PageInfo:
    """What the `page`-th page, with `found` data sets, says. A first page without links is the whole. Raises BadLinks.

    `here`: the page's own address; `home`: the feed's; `key`: name of the key's parameter; `counted`: whether totals count.
    """
    following = {rewritten(link, here, home, key) for link in links}
    if len(following) > 1 or (counted and len(totals) > 1):
        raise BadLinks(TWO)
    total = totals[0] if counted and totals else None
    after = next(iter(following), None)
    if page > 1:
        return PageInfo(total=total, next_cursor=after)
    if after is None and total is not None and found < total:
        raise BadLinks(
            f"the page has {found} of the {total} data sets of hydra:totalItems and leads to no other",
            "ask the agency; set source.check_total: false where its totals count something else",
        )
    if after is not None and total is not None and found >= total:
        raise BadLinks(
            f"hydra:totalItems is {total}, and the page with {found} data sets leads to more",
            "set source.check_total: false where totals count one page",
        )
    return PageInfo(total=found if after is None and total is None else total, next_cursor=after)


def rewritten(link: str, here: str, home: str, key: str | None) -> str:
    """The link at the feed's own host: portals behind a proxy write http, and names of machines inside, into their links."""
    try:
        there, own = urlsplit(urljoin(here, link)), urlsplit(home)
    except ValueError:
        raise BadLinks(NOWHERE) from None
    if there.scheme not in ("http", "https") or not there.netloc:
        raise BadLinks(NOWHERE)
    pairs = [pair for pair in there.query.split("&") if pair and (key is None or pair.partition("=")[0] != key)]
    # Braces are quoted: they would be places that secrets are filled into.
    path, query = (quote(part, safe="/:@!$&'()*+,;=~%-._?") for part in (there.path, "&".join(pairs)))
    return own._replace(path=path, query=query, fragment="").geturl()
