"""The stand-in's tape: recorded exchanges answer as they were recorded, from WARC files of Madang's archive or of any other writer.

A request is answered where one of the same method, host, path, query (pairs in any order) and body is on the tape; a masked secret
fits anything. Of a request that was recorded several times, each answer goes out once, in order, and the last one from then on.
The index of what is recorded is `tape_index.py`, comparing addresses `tape_addresses.py`; the engine over it `engines/tape.py`.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from deploy.agency import tape_addresses
from deploy.agency.replies import Reply, Stretch, text
from deploy.agency.tape_addresses import MASK, Parts, Shape
from deploy.agency.tape_index import TapeIndex
from deploy.agency.tape_records import CONDITIONS

if TYPE_CHECKING:
    from deploy.agency.engine import Asked

ABSENT = "not on the tape"
"""The note in the log of a request that nothing recorded answers."""
MAX_NEAREST = 200
"""Recorded addresses that are looked at to name the nearest."""
MAX_DECODED = 256 * 1024 * 1024
_NO_BODY = (204, 304)
_OF_THE_BODY = ("content-encoding", "content-range")
"""Headers that say how bytes are to be read: always of the record that has the bytes."""
_PART = "{0}.status, {0}.headers, {0}.told, {0}.start, {0}.size, {0}.cut, {0}.origin"


@dataclass(frozen=True)
class _Part:
    """One record. `told`: its Content-Length; `cut`: its body broke off."""

    status: int
    headers: Sequence[tuple[str, str]]
    told: int | None
    body: Stretch
    cut: bool
    origin: str


@dataclass(frozen=True)
class _Answer:
    """One recorded answer. `whole`: with its body, which for a revisit or a 304 is that of an earlier record; None where that is
    not on the tape, but in the fetch `elsewhere`, if one is named. `conditions`: of its request; None: not recorded.
    """

    own: _Part
    whole: _Part | None
    elsewhere: str | None
    conditions: Mapping[str, str] | None


class Tape:
    """What was recorded, while it answers. Safe to use from several threads.

    `ignored`: parameters that requests are not compared by. `mask`: a path or query without keys that are known by their form.
    Raises as TapeIndex does.
    """

    def __init__(
        self, paths: Sequence[Path], ignored: Collection[str] = (), mask: Callable[[str], str] = lambda part: part
    ) -> None:
        self._index, self._mask, self._lock = TapeIndex(paths, ignored), mask, Lock()
        self.hosts = tuple(sorted({host.partition(":")[0] for (host,) in self._rows("select authority from shape")}))

    def close(self) -> None:
        with self._lock:
            self._index.close()

    def rewind(self, host: str | None = None) -> None:
        """From the first recorded answer again, of one host or of all."""
        with self._lock:
            self._rows("update address set next = 0 where ? is null or authority = ? or authority like ? || ':%'", host, host, host)

    def _rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._index.db.execute(query, values).fetchall()

    # --- which answer ---

    def answer(self, asked: Asked) -> Reply:
        """The recorded answer whose turn it is, or a 404 that names the nearest request that is on the tape."""
        host, parts = _host(asked), tape_addresses.asked(asked.raw_path or asked.path, asked.raw_query, self._index.ignored)
        with self._lock:
            address = self._address(host, asked, parts)
            if address is None:
                return _absent(self._nearest(host, asked, parts))
            reply = _reply(self._turn(address, asked), asked)
        return _decoded(reply) if asked.faults else reply

    def unknown(self, host: str) -> Reply:
        """What is said of a host of which nothing is recorded."""
        return _absent(f"Nothing of {host} is on the tape; it has answers of {', '.join(self.hosts)}.")

    def _address(self, host: str, asked: Asked, parts: Parts) -> int | None:
        """The recorded address that the request fits, and that was answered; the one with the fewest masks."""
        for shape in self._shapes(host):
            for key in parts.under(shape):
                if (found := self._with_body(host, asked, key)) is not None:
                    return found
        return None

    def _shapes(self, host: str) -> list[Shape]:
        shapes = [Shape.from_json(row[0]) for row in self._rows("select shape from shape where authority = ?", host)]
        return sorted(shapes, key=lambda shape: len(shape.segments) + len(shape.pairs))

    def _with_body(self, host: str, asked: Asked, key: str) -> int | None:
        here = "from address where (authority, method, key) = (?, ?, ?) and answers > 0"
        body = hashlib.sha256(asked.body).hexdigest() if asked.body else ""
        exact = self._index.one(f"select id {here} and body = ?", host, asked.method, key, body)
        if exact is not None:
            return int(exact[0])
        masked = self._index.db.execute(f"select id, template {here} and template is not null", (host, asked.method, key))
        return next((int(id_) for id_, template in masked if tape_addresses.body_fits(template, asked.body)), None)

    def _turn(self, address: int, asked: Asked) -> _Answer:
        """The next answer. A range is more of the last one, unless it was recorded as a range itself."""
        found = self._index.one("select answers, next from address where id = ?", address)
        assert found is not None
        answers, turn = found
        answer = self._recorded(address, min(turn, answers - 1))
        if turn and "range" in asked.headers and answer.own.status != 206:
            return self._recorded(address, turn - 1)
        self._rows("update address set next = ? where id = ?", min(turn + 1, answers), address)
        return answer

    def _recorded(self, address: int, turn: int) -> _Answer:
        row = self._index.one(
            f"""select {_PART.format("a")}, a.revisit, a.refers_fetch, a.source, q.conditions from turn
            join answer a on a.id = turn.answer left join question q on q.id = a.question where address = ? and number = ?""",
            address,
            turn,
        )
        assert row is not None
        revisit, fetch, source, conditions = row[7:]
        own = self._part(row)
        whole: _Part | None = own
        if revisit or own.status == 304:
            whole = self._whole(address, turn, own, source)
        return _Answer(own, whole, fetch, json.loads(conditions) if conditions is not None else None)

    def _whole(self, address: int, turn: int, own: _Part, source: int | None) -> _Part | None:
        """The answer with the body that it stands for: that of the record it names, or of the last whole answer before a 304."""
        found = None
        if source is not None:
            found = self._index.one(f"select {_PART.format('answer')} from answer where id = ?", source)
        elif own.status == 304:
            found = self._index.one(
                f"""select {_PART.format("a")} from turn join answer a on a.id = turn.answer where address = ? and number < ?
                and a.status = 200 and not a.revisit and not a.cut order by number desc""",
                address,
                turn,
            )
        if found is None:
            return None
        body = self._part(found)
        said = {name for name, _ in own.headers} - set(_OF_THE_BODY)
        headers = [h for h in own.headers if h[0] not in _OF_THE_BODY] + [h for h in body.headers if h[0] not in said]
        status = body.status if own.status in (0, 304) else own.status
        origin = "synthetic" if "synthetic" in (own.origin, body.origin) else own.origin
        return replace(body, status=status, headers=headers, origin=origin)

    def _part(self, row: Sequence[Any]) -> _Part:
        status, headers, told, start, size, cut, origin = row[:7]
        pairs = [(name, value) for name, value in json.loads(headers)]
        return _Part(status, pairs, told, Stretch(self._index.pack.fileno(), start, size), bool(cut), origin)

    # --- for people ---

    def _nearest(self, host: str, asked: Asked, parts: Parts) -> str:
        """What to say of a request that is not on the tape. Of what was asked it repeats only names of parameters."""
        rows = self._rows(
            """select method, key, url, answers from address where authority = ?
            order by method = ? desc, path = ? desc, id limit ?""",
            host,
            asked.method,
            parts.path,
            MAX_NEAREST,
        )
        if not rows:
            return self.unknown(host).body.decode().strip()
        likeness = difflib.SequenceMatcher(b=parts.key, autojunk=False)

        def like(row: tuple[Any, ...]) -> tuple[bool, int, float]:
            likeness.set_seq1(row[1])
            _, theirs, _ = tape_addresses.recorded(row[2], self._index.ignored)
            return row[0] == asked.method, tape_addresses.common(theirs, parts), likeness.quick_ratio()

        method, _, url, answers = max(rows, key=like)
        _, theirs, _ = tape_addresses.recorded(url, self._index.ignored)
        where = tape_addresses.difference(theirs, parts)
        differs = f"what differs is {where}" if where else "its body differs" if answers else "no answer to it was recorded"
        if method != asked.method:
            differs = "its method differs"
        return f"This request is not on the tape. The nearest recorded one is {method} {self._shown(url)}; {differs}."

    def _shown(self, url: str) -> str:
        parts = urlsplit(url)
        return parts._replace(path=self._mask(parts.path), query=self._mask(parts.query)).geturl()

    def masked(self, host: str, path: str, query: str) -> tuple[str, str]:
        """Path and query of a request, for the log: what stands where the tape has a mask is masked, on the tape or not."""
        with self._lock:
            shapes = self._shapes(tape_addresses.authority(host))
        segments, pairs = path.split("/"), query.split("&") if query else []
        for shape in shapes:
            if shape.segments and any(tape_addresses.asked(path, "").under(Shape(shape.segments))):
                for place, _ in shape.segments:
                    segments[place] = MASK
            for number, pair in enumerate(pairs):
                if any(tape_addresses.same_name(template, pair) for template in shape.pairs):
                    pairs[number] = f"{pair.partition('=')[0]}={MASK}"
        return "/".join(segments), "&".join(pairs)

    def as_json(self) -> dict[str, Any]:
        """Per host: requests that differ, answers, answers that went out, origin; and what cannot be replayed."""
        with self._lock:
            hosts = self._rows(
                """select authority, count(distinct address.id), count(*), min(a.origin = 'replay') from address
                join turn on turn.address = address.id join answer a on a.id = turn.answer group by authority order by authority"""
            )
        return {
            "hosts": {
                host: {"requests": requests, "answers": answers, "origin": "replay" if replay else "synthetic"}
                for host, requests, answers, replay in hosts
            },
            "left_out": dict(sorted(self._index.left_out.items())),
            "absent": sorted(self._index.absent),
        }

    def lines(self) -> list[str]:
        """The same for people."""
        told = self.as_json()
        found = [
            f"{host}: {_number(of['answers'], 'answer')} to {_number(of['requests'], 'request')} ({of['origin']})"
            for host, of in told["hosts"].items()
        ]
        found += [f"left out: {_LEFT_OUT.get(name, name)}: {number}" for name, number in told["left_out"].items()]
        if absent := told["absent"]:
            more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
            found.append(f"bodies are missing: those of fetch {', '.join(absent[:3])}{more}; give these files with --tape too")
        return found


_LEFT_OUT = {
    "resource": "files that came without HTTP (drops)",
    "request without an answer": "requests without an answer",
    "other than HTTP": "answers of other protocols",
}


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _host(asked: Asked) -> str:
    return tape_addresses.authority(asked.headers.get("host", asked.host))


def _absent(sentence: str) -> Reply:
    return replace(text(404, sentence + "\n"), note=ABSENT).with_headers(madang_origin="synthetic")


def _reply(answer: _Answer, asked: Asked) -> Reply:
    """The answer as it goes out. A 304 goes to the conditions that were recorded, and to others where no body is known."""
    conditions = {name: asked.headers[name] for name in CONDITIONS if name in asked.headers}
    as_recorded = answer.conditions is not None and conditions == answer.conditions
    part = answer.whole
    if part is None and (asked.method == "HEAD" or (answer.own.status == 304 and conditions)):
        part = answer.own
    if answer.own.status == 304 and as_recorded:
        part = answer.own
    if part is None:
        fetch = f" of fetch {answer.elsewhere}" if answer.elsewhere else ""
        return _absent(
            f"The answer is on the tape, but its body is not: it is that{fetch} of an earlier record. Serve that file too."
        )
    headless = asked.method == "HEAD" or part.status in _NO_BODY
    short = not headless and ((part.told or 0) > part.body.size or (part.cut and part.told is None))
    headers = dict(part.headers)
    last = {name: place for place, (name, _) in enumerate(part.headers)}
    return Reply(
        part.status or 200,
        {**headers, "madang-origin": part.origin},
        held=None if headless else part.body,
        broken_after=part.body.size if short else None,
        length=(part.told or 0) if asked.method == "HEAD" else max(part.told or 0, part.body.size + 1) if short else 0,
        repeated=tuple(pair for place, pair in enumerate(part.headers) if last[pair[0]] != place),
        final=part.status != 200 or short or (as_recorded and bool(conditions)),
    )


def _decoded(reply: Reply) -> Reply:
    """The reply with its body in memory and without Content-Encoding, for faults that change what stands in it."""
    reply = reply.loaded()
    if (
        reply.headers.get("content-encoding", "").strip().lower() not in ("gzip", "x-gzip", "deflate")
        or reply.broken_after is not None
    ):
        return reply
    unpacking = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        body = unpacking.decompress(reply.body, MAX_DECODED)
    except zlib.error:
        return reply
    return replace(reply, body=body).with_headers(content_encoding=None) if unpacking.eof else reply
