"""What the answers of a WFS say: the root of GML and the frame of GeoJSON, counts, exceptions with status 200 (protocols.md 3.5).

Pure; what is asked is `wfs.py`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from assets.payload import Payload
from assets.protocols.answers.canonical import MAX_CANONICAL_BYTES
from assets.protocols.answers.json_members import members_of
from assets.protocols.answers.numbers import whole_number
from assets.protocols.answers.ows_exceptions import attributes_in
from assets.protocols.kernel import BadRequest, Empty, Malformed, Ok, Outcome, PageInfo, Pending, Request, Response

HITS = "hits"
"""The cursor of the page that asks only how many features there are."""
_PAGED = re.compile(r"(?<=[?&])(?:count|maxFeatures|startIndex|sortBy|outputFormat)=[^&#]*&?")
_SKIPPED = re.compile(r"\s*(?:<\?[^>]{0,2000}\?>|<!--.{0,20000}?-->|<!DOCTYPE[^>\[]{0,500}>)", re.DOTALL)
_ROOT = re.compile(r"\s*<(?:[\w.\-]{1,100}:)?([\w.\-]{1,100})((?:\s[^<>]{0,60000})?)/?>", re.DOTALL)
_START = re.compile(r"startindex=(\d{1,12})\b", re.IGNORECASE)
_STAMP = re.compile(rb"""\stimeStamp\s*=\s*(?:"[^"]{0,60}"|'[^']{0,60}')""")


@dataclass(frozen=True)
class Seen:
    """What was seen of an answer. `root`: '' where it is neither XML nor a JSON object; 'json' of the latter.

    `fields`: attributes of the root, or members of the object; `features`: whether it is an answer with features; `empty`: whether
    it surely has none; `named`: whether GML has elements of the feature's name; `start`: where the next page begins, as it says.
    """

    root: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    features: bool = False
    empty: bool = False
    named: bool = True
    ended: bool = True
    start: int | None = None

    def number(self, *names: str) -> int | None:
        """The first of these that is a whole number; 'unknown' is none."""
        found = (whole_number(self.fields.get(name)) for name in names)
        return next((number for number in found if number is not None), None)

    @property
    def returned(self) -> int | None:
        """How many features the page has, as far as it tells."""
        features = self.fields.get("features")
        return len(features) if isinstance(features, list) else self.number("numberReturned", "numberOfFeatures")


def seen_of(response: Response, element: str) -> Seen:
    """The frame of an answer. `element`: a feature's own, without its namespace. Never raises."""
    if response.head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<":
        return _xml(response.head, response.tail, response.length, element)
    found = members_of(response)
    if found is None:
        return Seen("")
    features = found.values.get("features")
    empty = features == [] or (not isinstance(features, list) and found.number("numberReturned") == 0)
    return Seen("json", found.values, found.holds_list("features"), empty, True, found.ended, _linked(found.values.get("links")))


def _xml(head: bytes, tail: bytes, length: int, element: str) -> Seen:
    text = head.decode("utf-8", "replace").lstrip("\ufeff")
    at = 0
    for _ in range(20):
        skipped = _SKIPPED.match(text, at)
        if skipped is None:
            break
        at = skipped.end()
    root = _ROOT.match(text, at)
    if root is None:
        return Seen("")
    fields = attributes_in(root[2].rstrip("/"))
    end = tail.rstrip()
    closed = text[root.end() - 2] == "/" and length <= len(head) and not text[root.end() :].strip()
    ended = closed or re.search(rb"</(?:[\w.\-]{1,100}:)?%s\s*>$" % re.escape(root[1].encode()), end[-300:]) is not None
    named = re.compile(rf"<(?:[\w.\-]{{1,100}}:)?{re.escape(element)}[\s/>]").search(text, root.end()) is not None
    returned = fields.get("numberReturned", fields.get("numberOfFeatures"))
    empty = returned == "0" or (returned is None and not named and length <= len(head))
    start = _START.search(fields.get("next", ""))
    return Seen(root[1], fields, root[1] == "FeatureCollection", empty, named, ended, int(start[1]) if start else None)


def _linked(links: Any) -> int | None:
    """Where the next page begins, by GeoServer's links; the address itself may be the machine's behind the proxy."""
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and link.get("rel") == "next" and isinstance(link.get("href"), str):
            found = _START.search(link["href"])
            return int(found[1]) if found else None
    return None


# --- pages ----------------------------------------------------------------------------------------------------------------


def _asked_number(request: Request, name: str) -> int:
    found = re.search(rf"[?&](?:{name})=(\d{{1,12}})(?:&|$)", request.url)
    return int(found[1]) if found else 0


def page_of(request: Request, seen: Seen, *, ordered: bool, counted: bool, boxed: bool) -> Outcome:
    """A page of features. Fewer than were asked for say nothing of the end.

    `ordered`: the feed declares an order, without which there is one page alone; `counted`: the service counts where it is asked;
    `boxed`: a box is asked for, before which some services cut their pages, so that a short one may end where a full one does.
    """
    # in 1.1.0 numberOfFeatures is the page's own number
    total, start = seen.number("numberMatched", "totalFeatures"), _asked_number(request, "startIndex")
    onward = seen.start if seen.start is not None and seen.start > start else None
    returned = seen.returned
    if not seen.empty:
        if not ordered:
            if total is not None and returned is not None and returned < total:
                return BadRequest(f"{returned} of {total} features came; for more pages declare their order, source.sort_by")
            return Ok(PageInfo(total=total, next_cursor=HITS))
        if onward is None and (boxed or returned):
            onward = start + (_asked_number(request, "count|maxFeatures") if boxed else returned or 0)
        return Ok(PageInfo(total=total, next_cursor=f"after {start}" if onward is None else f"at {onward}"))
    if onward is not None:
        return Pending(_moved(request.url, onward), 1.0)
    if total is None and counted:
        # an empty page ends the paging; its count is asked for in its place
        return Pending(f"{_PAGED.sub('', request.url).rstrip('&')}&resultType=hits", 1.0)
    if request.page == 1 and not total:
        return Empty("no features")
    return Ok(PageInfo(total=total))


def _moved(url: str, start: int) -> str:
    moved, times = re.subn(r"(?<=[?&])startIndex=\d+", f"startIndex={start}", url)
    return moved if times else f"{url}&startIndex={start}"


def count_of(request: Request, seen: Seen, *, needed: str) -> Outcome:
    """How many features there are. A service that does not know leaves it to the pages; `needed`: why they cannot do without."""
    total = seen.number("numberMatched", "totalFeatures", "numberOfFeatures")
    if total is None and needed:
        return Malformed(f"the service does not know how many features there are; {needed}")
    if request.page == 1 and not total:
        return Empty("no features")
    return Ok(PageInfo(total=total))


def counts(url: str) -> bool:
    return re.search(r"[?&]resultType=hits(?:&|$)", url) is not None


# --- what is the same -----------------------------------------------------------------------------------------------------


def gml_sha256(payload: Payload) -> str | None:
    """Hex digest of GML without the moment that its root carries; None where it is too large. Never raises."""
    if payload.size > MAX_CANONICAL_BYTES:
        return None
    body = payload.read_bytes()
    return hashlib.sha256(_STAMP.sub(b"", body[: 64 * 1024], count=1) + body[64 * 1024 :]).hexdigest()
