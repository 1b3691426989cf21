"""A tape's index: the exchanges of WARC files, read once and kept on disk, so that memory does not grow with the tape.

Addresses, answers and their order are rows of an SQLite file; bodies lie one after the other in another file, each of them once.
Neither has a name: they go with the process, however it ends. What one record says is `tape_records.py`, what fits a request
`tape_addresses.py`, what goes out `tape.py`.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from assets.archive.reading import Record, read_records
from assets.archive.records import CLOSING, broken
from assets.errors import IntegrityError, MadangError
from deploy.agency import tape_addresses
from deploy.agency.tape_records import (
    CONDITIONS,
    MAX_INFO,
    NAME,
    OF_THE_WIRE,
    OURS,
    STATUS,
    Unsound,
    address_of,
    beginning,
    digest_name,
    latin,
    moment,
    origin_of,
    payload_of,
    warc_files,
)

MAX_REVISITS = 8
"""Records that a chain of revisits may lead through."""
MAX_TEMPLATE = 1024 * 1024
"""Bytes of a request's body in which masks are looked for; a longer one is compared by its digest alone."""

_TABLES = """
create table file(id integer primary key, path text, first text);
create table question(id integer primary key, file int, record text, concurrent text, uri text, method text, conditions text,
    body text, template blob, used int default 0);
create table answer(id integer primary key, file int, record text, concurrent text, uri text, at text, revisit int, status int,
    headers text, told int, start int, size int, cut int, origin text, digest text, label text, refers text, refers_uri text,
    refers_at text, refers_fetch text, played int, question int, source int);
create table address(id integer primary key, authority text, method text, key text, path text, body text, template blob, url text,
    answers int default 0, next int default 0, unique (authority, method, key, body));
create table turn(address int, number int, answer int, primary key (address, number)) without rowid;
create table shape(authority text, shape text, primary key (authority, shape)) without rowid;
create index question_uri on question(file, uri, used);
create index question_record on question(file, record);
create index question_concurrent on question(file, concurrent);
create index answer_record on answer(record);
create index answer_digest on answer(digest);
create index answer_label on answer(label);
create index answer_uri on answer(uri, at);
"""


class TapeIndex:
    """Made from WARC files and folders of them; MadangError where there is nothing to replay, IntegrityError of an unsound file.

    `db`: the index; `pack`: the file of bodies. `left_out`: what is on the tape and cannot be replayed, by its name, with numbers.
    `absent`: fetches that hold bodies of the tape, and are not given. `ignored`: parameters that no request is compared by.
    """

    def __init__(self, paths: Sequence[Path], ignored: Collection[str] = ()) -> None:
        self.ignored = tuple(ignored)
        self.left_out: Counter[str] = Counter()
        self.absent: set[str] = set()
        # Without a name: a file of SQLite's own.
        self.db = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self.pack = tempfile.TemporaryFile()  # noqa: SIM115  closed by `close`
        self._end = 0
        self._ordinal = itertools.count(1)
        try:
            # It is made anew each time: nothing is lost by losing it.
            self.db.executescript(f"pragma journal_mode=off; pragma synchronous=off; begin; {_TABLES}")
            self._fill(paths)
            self.db.execute("commit")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.db.close()
        self.pack.close()

    def one(self, query: str, *values: Any) -> tuple[Any, ...] | None:
        found: tuple[Any, ...] | None = self.db.execute(query, values).fetchone()
        return found

    def _insert(self, table: str, values: Sequence[Any]) -> None:
        """A row. SQLite takes no bytes that are no text, which a hostile tape may have anywhere."""
        row = [v.encode("utf-8", "backslashreplace").decode() if isinstance(v, str) else v for v in values]
        self.db.execute(f"insert into {table} values ({', '.join('?' * len(row))})", row)

    def _each(self, query: str) -> Iterator[tuple[Any, ...]]:
        """Rows whose first column is an id that the query compares with `> ?`, a few at a time, so that they may be changed."""
        last = 0
        while rows := self.db.execute(f"{query} order by id limit 1000", (last,)).fetchall():
            yield from rows
            last = rows[-1][0]

    # --- all files ---

    def _fill(self, paths: Sequence[Path]) -> None:
        files = warc_files(paths)
        for path in files:
            self._read(path, played=True)
        self._pair()
        self._place()
        self._resolve(files)
        self.pack.flush()
        if self.one("select 1 from turn") is None:
            drops = " (files that came without HTTP are none)" if self.left_out else ""
            where = ", ".join(map(str, paths))
            raise MadangError(f"no answer over HTTP is recorded there{drops}", where=where, mend="give the WARC of another fetch")

    def _read(self, path: Path, *, played: bool) -> None:
        """All records of one file. IntegrityError where a digest does not hold, or the file, or a fetch in it, is cut short."""
        file = next(self._ordinal)
        origins: dict[str, str] = {}
        latest, first, ends = "replay", "", True
        for record in read_records(path):
            headers = record.headers
            first = first or moment(headers.get("warc-date", ""))
            if record.kind == "warcinfo":
                latest, ours = origin_of(beginning(record, MAX_INFO))
                origins[headers.get("warc-record-id", "")] = latest
                ends = ends and not ours
            elif record.kind == "metadata" and headers.get("content-type") == CLOSING:
                ends = True
            elif record.kind == "request" and record.http is not None:
                if played:
                    self._question(record, file)
            elif record.kind in ("response", "revisit"):
                self._answer(record, file, origins.get(headers.get("warc-warcinfo-id", ""), latest), played)
            elif played and record.kind in ("resource", "continuation", "conversion"):
                self.left_out[record.kind] += 1
        if not ends:
            raise broken(str(path), "it ends before its closing record")
        self._insert("file", (file, str(path), first))

    def _question(self, record: Record, file: int) -> None:
        http, headers = record.http, record.headers
        assert http is not None
        sent = http.map()
        whole, kept = hashlib.sha256(), b""
        for chunk in payload_of(record):
            whole.update(chunk)
            kept = kept + chunk if len(kept) <= MAX_TEMPLATE else kept
        template = tape_addresses.body_template(kept) if len(kept) <= MAX_TEMPLATE else None
        self._insert(
            "question(id, file, record, concurrent, uri, method, conditions, body, template)",
            (
                next(self._ordinal),
                file,
                headers.get("warc-record-id"),
                headers.get("warc-concurrent-to"),
                address_of(headers.get("warc-target-uri", "")),
                http.start_line.partition(" ")[0].upper(),
                json.dumps({name: latin(sent[name]) for name in CONDITIONS if name in sent}),
                "" if not kept else whole.hexdigest(),
                template,
            ),
        )

    def _answer(self, record: Record, file: int, origin: str, played: bool) -> None:
        headers, http = record.headers, record.http
        revisit = record.kind == "revisit"
        if http is None and not revisit:
            self.left_out["other than HTTP"] += played
            return
        status = STATUS.match(http.start_line) if http is not None else None
        code = int(status[1]) if status else 0
        if http is not None and code < 200:
            self.left_out["without a status"] += played
            return
        pairs = [(n.lower(), latin(v)) for n, v in http.headers] if http is not None else []
        told = next((v for n, v in reversed(pairs) if n == "content-length"), "")
        # A recording of the stand-in itself, by whomever, stays what it was.
        origin = "synthetic" if any(n == "madang-origin" and v != "replay" for n, v in pairs) else origin
        start, size, digest, ragged = (0, 0, "", False) if revisit else self._keep(record)
        kept = [(n, v) for n, v in pairs if n not in OF_THE_WIRE and n not in OURS and n != "content-length" and NAME.fullmatch(n)]
        self._insert(
            "answer",
            (
                next(self._ordinal),
                file,
                headers.get("warc-record-id"),
                headers.get("warc-concurrent-to"),
                address_of(headers.get("warc-target-uri", "")),
                moment(headers.get("warc-date", "")),
                revisit,
                code or (304 if headers.get("warc-profile", "").endswith("server-not-modified") else 0),
                json.dumps(kept),
                int(told) if told.isdecimal() else None,
                start,
                size,
                ragged or "warc-truncated" in headers,
                origin,
                digest,
                digest_name(headers.get("warc-payload-digest", "")),
                headers.get("warc-refers-to"),
                address_of(headers.get("warc-refers-to-target-uri", "")),
                moment(headers.get("warc-refers-to-date", "")),
                headers.get("madang-refers-to-fetch"),
                played,
                None,
                None,
            ),
        )

    def _keep(self, record: Record) -> tuple[int, int, str, bool]:
        """The payload, into the pack unless it is there: where, how long, its digest, and whether its chunks end badly."""
        start, whole, ragged = self._end, hashlib.sha256(), False
        self.pack.seek(start)
        chunks = payload_of(record)
        while True:
            try:
                chunk = next(chunks)
            except StopIteration:
                break
            except IntegrityError:
                ragged = True
                record.finish()
                break
            except Unsound as unsound:
                raise unsound.error from None
            whole.update(chunk)
            self.pack.write(chunk)
        size, digest = self.pack.tell() - start, f"sha256:{whole.hexdigest()}"
        same = self.one("select start from answer where digest = ? and size = ? and not revisit", digest, size)
        if same is not None:
            return same[0], size, digest, ragged
        self._end = start + size
        return start, size, digest, ragged

    # --- what belongs together ---

    def _pair(self) -> None:
        """Each answer with its question: by WARC-Concurrent-To on either of the two, else by their order."""
        self.db.execute(
            """update answer set question = coalesce(
                (select id from question q where q.file = answer.file and q.concurrent = answer.record),
                (select id from question q where q.file = answer.file and q.record = answer.concurrent)) where played"""
        )
        self.db.execute("update question set used = 1 where id in (select question from answer)")
        for answer, file, uri in self._each("select id, file, uri from answer where played and question is null and id > ?"):
            of_it = "select id from question where file = ? and uri = ? and not used"
            found = self.one(f"{of_it} and id < ? order by id desc", file, uri, answer) or self.one(
                f"{of_it} and id > ? order by id", file, uri, answer
            )
            if found is not None:
                self.db.execute("update answer set question = ? where id = ?", (found[0], answer))
                self.db.execute("update question set used = 1 where id = ?", found)

    def _place(self) -> None:
        """Each answer at its address, in recorded order; then the addresses that were asked and never answered."""
        recorded = self.db.execute(
            """select a.id, a.uri, q.method, q.body, q.template from answer a join file on file.id = a.file
            left join question q on q.id = a.question where played order by file.first, file.id, a.id"""
        )
        for answer, uri, method, body, template in recorded:
            address = self._address(uri, method or "GET", body or "", template)
            if address is None:
                self.left_out["of an address that is none"] += 1
                continue
            self.db.execute("insert into turn select id, answers, ? from address where id = ?", (answer, address))
            self.db.execute("update address set answers = answers + 1 where id = ?", (address,))
        for uri, method, body, template in self.db.execute("select uri, method, body, template from question where not used"):
            self.left_out["request without an answer"] += 1
            self._address(uri, method, body, template)

    def _address(self, uri: str, method: str, body: str, template: bytes | None) -> int | None:
        try:
            authority, parts, shape = tape_addresses.recorded(uri, self.ignored)
        except ValueError:
            return None
        if template is not None:
            body = f"masked:{hashlib.sha256(template).hexdigest()}"
        self.db.execute("insert or ignore into shape values (?, ?)", (authority, shape.as_json()))
        self.db.execute(
            """insert or ignore into address(authority, method, key, path, body, template, url) values (?, ?, ?, ?, ?, ?, ?)""",
            (authority, method, parts.key, parts.path, body, template, uri),
        )
        found = self.one(
            "select id from address where (authority, method, key, body) = (?, ?, ?, ?)", authority, method, parts.key, body
        )
        assert found is not None
        return int(found[0])

    # --- revisits ---

    def _resolve(self, files: Sequence[Path]) -> None:
        """For each revisit the answer that has its body, also out of files of the archive that are not on the tape themselves."""
        sought: set[str] = set()
        given = {file.resolve() for file in files}
        found_more = True
        while found_more:
            found_more, self.absent = False, set()
            for answer, file in self._each("select id, file from answer where played and revisit and source is null and id > ?"):
                source, fetch = self._source(answer)
                if source is not None:
                    self.db.execute("update answer set source = ? where id = ?", (source, answer))
                elif fetch:
                    self.absent.add(fetch)
                    beside = self._beside(file, fetch) if fetch not in sought else None
                    if beside is not None and beside.resolve() not in given:
                        sought.add(fetch)
                        self._read(beside, played=False)
                        found_more = True

    def _beside(self, file: int, fetch: str) -> Path | None:
        """The file of that fetch as the archive lays it, from a file that lies there: <yyyy>/<mm>/<fetch_id>.warc.gz."""
        found = self.one("select path from file where id = ?", file)
        if found is None or not re.fullmatch(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}", fetch):
            return None
        here, name = Path(found[0]).resolve().parent, f"{fetch}.warc.gz"
        places = (here / name, here.parent.parent / fetch[:4] / fetch[4:6] / name)
        return next((path for path in places if path.is_file()), None)

    def _source(self, answer: int) -> tuple[int | None, str | None]:
        """The answer whose body the revisit's is, through other revisits too; where there is none, the fetch that has it.

        IntegrityError where it is another body.
        """
        row = "select revisit, refers, refers_uri, refers_at, refers_fetch, label, digest, uri, file from answer where id = ?"
        here = first = self.one(row, answer)
        assert first is not None
        for _ in range(MAX_REVISITS):
            assert here is not None
            _, refers, refers_uri, refers_at, fetch, label, _, uri, _ = here
            found = (
                (refers and self.one("select id from answer where record = ? and id != ?", refers, answer))
                or (label and self.one(_BY_DIGEST, label, label, uri))
                or (refers_at and self.one("select id from answer where uri = ? and at = ? and not revisit", refers_uri, refers_at))
            )
            if not found:
                return None, fetch
            here = self.one(row, found[0])
            assert here is not None
            revisit, *_, label, digest, _, _ = here
            if not revisit:
                # Where the two digests of the body itself differ, its writer counted chunks.
                if first[5].startswith("sha256:") and first[5] != digest and label in ("", digest):
                    (path,) = self.one("select path from file where id = ?", first[-1]) or ("",)
                    raise broken(path, "the digest of a revisit is not that of the body it refers to")
                return int(found[0]), None
        return None, None


_BY_DIGEST = "select id from answer where (digest = ? or label = ?) and not revisit and not cut order by uri = ? desc, id"
