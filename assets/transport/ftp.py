"""FTP and FTP over TLS by the standard library, blocking: login, a listing by MLSD or else LIST, a file in passive mode.

Names pass as the server's bytes (Latin-1 to the library), because a Korean server may write them in CP949.
"""

from __future__ import annotations

import ftplib
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from assets.protocols.drops import Entry, entry_of
from assets.protocols.kernel import AuthFailed, BadRequest, Outcome, Request, Transient
from assets.transport.drops import MAX_ENTRIES, Connection, DropFailed, missing
from assets.transport.trust import tls_context

MAX_ASKED_TIMES = 1000
"""Files whose time is asked for one by one, where the listing tells it to the minute only and without a zone."""
_UNKNOWN_COMMAND = ("500", "501", "502", "504")
_UNIX = re.compile(r"-\S{9}\S*\s+(?:\d+\s+)?.*?\s(\d+)\s+(?!\d+\s)(\S{1,16})\s+(\d{1,2})\s+(\d{4}|\d{1,2}:\d{2}) (.+)$")
_LINK = re.compile(r"(?:\S*;)?type=OS\.unix=s(?:ym)?link[^; ]*;\S* (.+)$", re.IGNORECASE)
_DOS = re.compile(r"(\d\d)-(\d\d)-(\d\d|\d{4})\s+(\d\d):(\d\d)\s*([AaPp])[Mm]\s+(\d+) (.+)$")
_NO_FILE = re.compile(r"\s*$|\S+\s+\d+\s*$|[a-z][r-][w-]\S{7}|.*\s<[A-Z]+>\s")
"""Lines of LIST that are no file: blank, the total, folders and links of Unix and of Windows."""
_NOTHING = re.compile(r"[45]50\b.*\bno (?:files|members|data ?sets)\b", re.IGNORECASE)
"""How some servers refuse to list a folder in which nothing lies."""
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]


class _Client(ftplib.FTP_TLS):
    """TLS or not, with the declared host's name in it, and the control connection's session for the data connections."""

    implicit = False

    def ntransfercmd(self, cmd: str, rest: int | str | None = None) -> tuple[socket.socket, int | None]:
        opened, size = ftplib.FTP.ntransfercmd(self, cmd, rest)  # noqa: S321  the feed decides, and says so by `plain`
        if isinstance(self.sock, ssl.SSLSocket):
            try:
                # Servers refuse a data connection that does not continue the session: it could be somebody else's.
                return self.context.wrap_socket(opened, server_hostname=self.host, session=self.sock.session), size
            except BaseException:
                opened.close()
                raise
        return opened, size

    def begin(self, address: str, port: int, name: str, timeout: float) -> None:
        """Connect to `address`, and believe only `name`."""
        self.sock = socket.create_connection((address, port), timeout)
        self.af, self.host, self.port, self.timeout = self.sock.family, name, port, timeout
        if self.implicit:
            self.sock = self.context.wrap_socket(self.sock, server_hostname=name)
        self.file = self.sock.makefile("r", encoding=self.encoding)
        self.welcome = self.getresp()


class FtpConnection(Connection):
    """One control connection, TLS begun by AUTH TLS unless the feed is plain."""

    default_port = 21
    implicit = False

    def open(self) -> None:
        self._data: socket.socket | None = None
        self._name, self._is_listing, self._changed = "", False, ""
        limits, auth = self.source.limits, self.source.auth
        client = self._client = _Client(context=tls_context(self.source.tls), encoding="latin-1")
        plain = self.source.plain or self.place.plain
        client.implicit = self.implicit and not plain
        client.begin(self.place.address, self.place.port, self.place.host, limits.connect_timeout_s)
        client.timeout = limits.read_timeout_s
        assert client.sock is not None
        client.sock.settimeout(limits.read_timeout_s)
        if not plain and not self.implicit:
            self._begin_tls()
        if auth.kind == "password":
            client.login(_wire(auth.name), _wire(self.password()), secure=False)
        else:
            client.login(secure=False)
        if not plain:
            client.prot_p()
        self._features = self._asked("FEAT").upper()
        if "UTF8" in self._features:
            self._asked("OPTS UTF8 ON")
        client.voidcmd("TYPE I")

    def _begin_tls(self) -> None:
        try:
            self._client.auth()
        except ftplib.error_perm:
            raise DropFailed(
                BadRequest(f"{self.place.host} offers no TLS (AUTH TLS); source.plain: true sends the password in the clear")
            ) from None

    def _asked(self, command: str) -> str:
        """The answer to a command that not every server knows; '' where it refuses."""
        try:
            return self._client.sendcmd(command)
        except ftplib.error_perm:
            return ""

    def listing(self, path: bytes) -> Iterator[Entry]:
        self._enter(path)
        self._is_listing = True
        if "MLST" in self._features or "MLSD" in self._features:
            try:
                lines = self._lines("MLSD")
            except ftplib.error_perm as error:
                if str(error)[:3] not in _UNKNOWN_COMMAND:
                    raise
            else:
                yield from filter(None, map(fact_line, lines))
                yield from self._behind_links(lines)
                return
        now, lines = datetime.now(UTC), self._lines("LIST")
        found = [entry for line in lines if (entry := list_line(line, now)) is not None]
        if not found and not all(map(_NO_FILE.match, lines)):
            raise DropFailed(BadRequest(f"{self.place.host} has no MLSD, and a form of LIST that is not known"))
        found.sort(key=lambda entry: entry[2] or "", reverse=True)
        for n, (name, size, modified) in enumerate(found):  # the newest first: to the others the minute is enough
            exact = _stamp(self._asked(f"MDTM {name}")[4:]) if n < MAX_ASKED_TIMES else None
            yield entry_of(name.encode("latin-1"), size, exact or modified)
        yield from self._behind_links(lines)

    def _behind_links(self, lines: list[str]) -> Iterator[Entry]:
        """The files that links lead to; a listing tells of the link itself."""
        for name in filter(None, map(link_line, lines)):
            size = self._asked(f"SIZE {name}")[4:].strip()
            if size.isdecimal():  # else it leads to a folder, or nowhere
                yield entry_of(name.encode("latin-1", "replace"), int(size), _stamp(self._asked(f"MDTM {name}")[4:]))

    def _enter(self, path: bytes) -> None:
        path = path.removeprefix(b"/~/") if path.startswith(b"/~") else path
        self._name, self._is_listing = path.decode("utf-8", "backslashreplace"), True
        if path.rstrip(b"/") or path:
            self._client.cwd(path.rstrip(b"/").decode("latin-1") or "/")
        self._is_listing = False

    def _lines(self, command: str) -> list[str]:
        lines: list[str] = []

        def keep(line: str) -> None:
            if len(lines) > MAX_ENTRIES:
                raise DropFailed(BadRequest(f"the folder holds more than {MAX_ENTRIES} files"))
            lines.append(line)

        try:
            self._client.retrlines(command, keep)
        except (ftplib.error_perm, ftplib.error_temp) as error:
            if not _NOTHING.match(str(error)):
                raise
        self._client.voidcmd("TYPE I")
        return lines

    def start(self, path: bytes, request: Request) -> None:
        folder, _, name = path.rpartition(b"/")
        self._enter(folder + b"/")
        self._name, self._file = path.decode("utf-8", "backslashreplace"), name.decode("latin-1")
        self._listed = request.headers.get("size")
        self._changed = self._asked(f"MDTM {self._file}")
        self._data = self._client.transfercmd(f"RETR {self._file}")

    def read(self, size: int) -> bytes:
        assert self._data is not None
        return self._data.recv(size)

    def finish(self, received: int) -> None:
        assert self._data is not None
        if isinstance(self._data, ssl.SSLSocket):
            with suppress(OSError, ValueError):  # many servers close without a farewell; the size tells whether all came
                self._data.unwrap()
        self._data.close()
        try:
            self._client.voidresp()
        except (EOFError, TimeoutError, ConnectionError):
            # A router drops a control connection that is idle while a large file comes; the file itself is here.
            if self._listed is None or int(self._listed) != received:
                raise
            return
        if self._asked(f"MDTM {self._file}") != self._changed:
            raise DropFailed(Transient("the file changed while it was read"))

    def close(self) -> None:
        for held in (getattr(self, "_data", None), getattr(self, "_client", None)):
            if held is not None:
                with suppress(OSError, EOFError, ValueError):
                    held.close()

    def judge(self, error: BaseException) -> Outcome | None:
        host, code = self.place.host, str(error)[:3]
        if isinstance(error, ssl.SSLCertVerificationError):
            return BadRequest(f"the certificate of {host} is not trusted: {error.verify_message}")
        if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return Transient(f"{host} broke the connection")
        if isinstance(error, ssl.SSLError):
            return BadRequest(f"{host} speaks no TLS that is accepted; an old server may need source.tls.legacy")
        if isinstance(error, ftplib.error_temp):
            return Transient(f"{host} says for now: {code}")
        if isinstance(error, ftplib.error_perm):
            return self._refused(code, str(error))
        if isinstance(error, ftplib.Error | UnicodeError):
            return BadRequest(f"{host} speaks no FTP that can be read")
        return BadRequest("the address holds a line end") if isinstance(error, ValueError) else None

    def _refused(self, code: str, text: str) -> Outcome:
        host, user = self.place.host, self.source.auth.name or "anonymous"
        if code in ("530", "532", "332"):
            return AuthFailed(f"{host} does not admit the user {user} with this password ({code})")
        if code == "550" and re.search("denied|permission|not allowed|권한", text, re.IGNORECASE):
            return AuthFailed(f"{host} does not let the user {user} read {self._name}")
        if code == "550":
            return missing(self._name, self._is_listing)
        return BadRequest(f"{host} refuses with {code}")


class ImplicitTlsConnection(FtpConnection):
    """TLS from the first byte."""

    default_port = 990
    implicit = True


def fact_line(line: str) -> Entry | None:
    """One line of MLSD; None where it is no file."""
    facts, _, name = line.partition(" ")
    pairs = {k.lower(): v for k, _, v in (f.partition("=") for f in facts.split(";"))}
    if pairs.get("type", "").lower() != "file" or not name:
        return None
    size = pairs.get("size", "")
    return entry_of(name.encode("latin-1", "replace"), int(size) if size.isdecimal() else None, _stamp(pairs.get("modify", "")))


def link_line(line: str) -> str | None:
    """The name of a link in a line of MLSD or of Unix's LIST; None where it is none."""
    if found := _LINK.match(line):
        return found[1]
    found = _UNIX.match(f"-{line[1:]}") if line.startswith("l") else None
    return found[5].partition(" -> ")[0] if found else None


def list_line(line: str, now: datetime) -> tuple[str, int, str | None] | None:
    """One line of LIST, in Unix's form or Windows's: name, size, time to the minute (taken for UTC; None where it cannot be
    read); None where it is no file."""
    if found := _UNIX.match(line):
        size, month, day, when, name = found.groups()
        clock = when if ":" in when else "0:00"
        parts = [_month(month), int(day), *map(int, clock.split(":"))]
        year = now.year if ":" in when else int(when)
        modified = _at(year, *parts)
        if ":" in when and (modified is None or modified > f"{now + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"):
            modified = _at(year - 1, *parts)  # without a year it is of the last twelve months, which may have a 29 February
        return name, int(size), modified
    if found := _DOS.match(line):
        m, d, y, hour, minute, half, size, name = found.groups()
        year = int(y) if len(y) == 4 else 2000 + int(y) if int(y) < 70 else 1900 + int(y)
        at = _at(year, int(m), int(d), int(hour) % 12 + 12 * (half.lower() == "p"), int(minute))
        return name, int(size), at
    return None


def _month(text: str) -> int:
    """1 to 12, of an English name or of a number with the word for month after it; 0 of any other."""
    if text[:3].lower() in _MONTHS:
        return _MONTHS.index(text[:3].lower()) + 1
    number = re.match(r"\d{1,2}(?=\D)", text)
    return int(number[0]) if number else 0


def _at(year: int, month: int, day: int, hour: int, minute: int, second: int = 0) -> str | None:
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        return None


def _stamp(text: str) -> str | None:
    """YYYYMMDDHHMMSS, perhaps with a fraction, in UTC."""
    text = text.strip()
    found = re.match(r"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)", text)
    return _at(*map(int, found.groups())) if found else None


def _wire(text: str) -> str:
    """UTF-8, as the library's Latin-1 sends it."""
    return text.encode().decode("latin-1")
