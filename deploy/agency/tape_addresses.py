"""Which recorded request another one is: addresses compared by path and by pairs of the query in any order, masks fitting anything.

Pure. What is recorded stands in `tape_index.py`; which answer goes out is `tape.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import AnyStr
from urllib.parse import quote, unquote, urlsplit

MASK = "***"
_RUN = re.compile(r"\*{3,}")
"""A masked secret: the archive masks at equal length (`assets/transport/secrets.py`). Fewer stars are a query's own: `*:*`."""
_RUN_IN_BODY = re.compile(rb"\*{3,}")
MAX_CHOICES = 64
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Shape:
    """Where masks stand in an address: segments of the path by their place, and pairs of the query, `***` for each mask."""

    segments: tuple[tuple[int, str], ...] = ()
    pairs: tuple[str, ...] = ()

    def as_json(self) -> str:
        return json.dumps([self.segments, self.pairs])

    @classmethod
    def from_json(cls, text: str) -> Shape:
        segments, pairs = json.loads(text)
        return cls(tuple((place, segment) for place, segment in segments), tuple(pairs))


@dataclass(frozen=True)
class Parts:
    """An address without its host, every way to write the same bytes made one."""

    segments: tuple[str, ...]
    pairs: tuple[str, ...]

    @property
    def path(self) -> str:
        return "/".join(self.segments)

    @property
    def key(self) -> str:
        return f"{self.path}?{'&'.join(sorted(self.pairs))}"

    def under(self, shape: Shape) -> Iterator[str]:
        """The keys that this has with masks where the shape has them; none where something stands there that no mask covers.

        More than one where a parameter is repeated, and only one of its values is masked.
        """
        segments = list(self.segments)
        for place, template in shape.segments:
            if place >= len(segments) or not fits(template, segments[place]):
                return
            segments[place] = template
        for rest in islice(_without(shape.pairs, self.pairs), MAX_CHOICES):
            yield Parts(tuple(segments), (*rest, *shape.pairs)).key


def _without(templates: tuple[str, ...], pairs: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """What is left of the pairs when one that fits is taken for each template, in every way there is."""
    if not templates:
        yield pairs
        return
    for place, pair in enumerate(pairs):
        if fits(templates[0], pair):
            yield from _without(templates[1:], pairs[:place] + pairs[place + 1 :])


def recorded(url: str, ignored: Collection[str] = ()) -> tuple[str, Parts, Shape]:
    """Authority, parts and masks of an address as a WARC has it. ValueError where it is no http address."""
    at = urlsplit(url)
    if at.scheme not in _DEFAULT_PORTS or not at.hostname:
        raise ValueError("no http address")
    port = None if at.port == _DEFAULT_PORTS[at.scheme] else at.port
    parts = _parts(at.path, at.query, ignored, _with_masks)
    shape = Shape(
        tuple((place, segment) for place, segment in enumerate(parts.segments) if MASK in segment),
        tuple(sorted(pair for pair in parts.pairs if MASK in pair)),
    )
    return at.hostname + (f":{port}" if port else ""), parts, shape


def asked(path: str, query: str, ignored: Collection[str] = ()) -> Parts:
    """Of a request: path and query as they came over the wire. Stars in it are stars."""
    return _parts(path, query, ignored, _plain)


def authority(host: str) -> str:
    """A Host header as `recorded` names hosts."""
    return host.strip().lower().removesuffix(":80").removesuffix(":443")


def _parts(path: str, query: str, ignored: Collection[str], write: Callable[[str, bool], str]) -> Parts:
    segments = tuple(write(segment, False) for segment in (path or "/").split("/"))
    pairs = (pair.partition("=") for pair in query.split("&") if pair)
    left_out = {_plain(name, True) for name in ignored}
    return Parts(segments, tuple(f"{write(n, True)}={write(v, True)}" for n, _, v in pairs if _plain(n, True) not in left_out))


def _plain(text: str, plus: bool) -> str:
    """The one way to write these bytes: everything percent-encoded that may be. `plus`: a + is a space, as in a query."""
    if plus:
        text = text.replace("+", " ")
    raw = text.encode("utf-8", "surrogateescape").decode("latin-1")
    return quote(unquote(raw, "latin-1"), safe="", encoding="latin-1")


def _with_masks(text: str, plus: bool) -> str:
    return MASK.join(_plain(part, plus) for part in _RUN.split(text))


def fits(template: str, text: str) -> bool:
    """Whether the text is the template with something, or nothing, for each mask."""
    return _in_pieces(template.split(MASK), text)


def difference(tape: Parts, request: Parts) -> str:
    """In what a request differs from a recorded address, in words, with names of parameters and no values; '' where in nothing."""
    if len(tape.segments) != len(request.segments) or not all(map(fits, tape.segments, request.segments)):
        return "the path"
    theirs, other = list(tape.pairs), []
    for pair in request.pairs:
        found = next((template for template in theirs if fits(template, pair)), None)
        if found is None:
            other.append(pair)
        else:
            theirs.remove(found)
    return ", ".join(sorted({unquote(pair.partition("=")[0]) for pair in (*theirs, *other)}))


def common(tape: Parts, request: Parts) -> int:
    """How many segments and pairs a request has in common with a recorded address."""
    return sum(map(fits, tape.segments, request.segments)) + sum(any(fits(t, pair) for t in tape.pairs) for pair in request.pairs)


def same_name(template: str, pair: str) -> bool:
    """Whether a pair of a request's query is of the masked pair's name, whatever its value."""
    return fits(template.partition("=")[0], _plain(pair.partition("=")[0], True))


def body_template(body: bytes) -> bytes | None:
    """A recorded body with `***` for each mask; None where nothing in it is masked."""
    return MASK.encode().join(_RUN_IN_BODY.split(body)) if _RUN_IN_BODY.search(body) else None


def body_fits(template: bytes, body: bytes) -> bool:
    """As `fits`."""
    return _in_pieces(template.split(MASK.encode()), body)


def _in_pieces(pieces: Sequence[AnyStr], text: AnyStr) -> bool:
    """Whether the text begins with the first piece, ends with the last, and has the others between them in order.

    No pattern that a long text could hold up.
    """
    first, last, middle = pieces[0], pieces[-1], pieces[1:-1]
    if len(pieces) == 1:
        return text == first
    place, end = len(first), len(text) - len(last)
    if not text.startswith(first) or not text.endswith(last) or end < place:
        return False
    for piece in middle:
        found = text.find(piece, place, end)
        if found < 0:
            return False
        place = found + len(piece)
    return True
