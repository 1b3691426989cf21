"""Secrets: filled in at the moment of sending, and masked in everything that comes back or is written down.

Here is the only code that handles a secret's value. Which header or URL carries one is the protocol's business
(`{secret:NAME}` in a Request); reading the environment is the caller's.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from urllib.parse import quote, unquote

from assets.errors import SettingsError
from assets.protocols.kernel import Auth

PLACEHOLDER = re.compile(r"\{secret:([A-Z][A-Z0-9_]*)\}")
SHORTEST_IN_BODY = 8
"""A value shorter than this (Seoul's public key `sample`) is no secret worth altering a body for; elsewhere it is masked."""
_ENCODED = re.compile(r"%[0-9A-Fa-f]{2}")
_LONE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")


class Secrets:
    """The secrets of one feed. `values`: environment name → value; only the names that the feed declares are ever read.

    `declared`: the text of the declaration, where places for secrets may stand besides those of `auth`. A place that an agency's
    answer smuggled into an address is none of them, and is sent as it stands.
    """

    def __init__(self, values: Mapping[str, str], *, feed: str, auth: Auth, declared: str = "") -> None:
        self._values, self._feed, self._auth = values, feed, auth
        named = (auth.secret, auth.name if auth.kind == "access_key" else None)
        self._names = {name for name in named if name} | set(PLACEHOLDER.findall(declared))
        self._known: dict[str, str] = {}
        self._masked: set[str] = set()
        self._mask: re.Pattern[bytes] | None = None
        self._body_mask: re.Pattern[bytes] | None = None
        self._longest = 0
        if auth.secret is not None:
            self._value(auth.secret)

    def __repr__(self) -> str:
        return f"Secrets({sorted(self._known)})"

    # --- filling ---

    def fill_url(self, url: str) -> str:
        """The URL to send: every placeholder filled, percent-encoded exactly once. Raises SettingsError for a missing one."""
        if "{" not in url:
            return url
        return PLACEHOLDER.sub(lambda m: quote(self._value(m[1]) if m[1] in self._names else m[0], safe=""), url)

    def fill_header(self, value: str) -> str:
        """The header value to send, filled as it is."""
        if "{" not in value:
            return value
        return PLACEHOLDER.sub(lambda m: self._value(m[1]) if m[1] in self._names else m[0], value)

    def fill_body(self, body: bytes | None) -> bytes | None:
        """The JSON body to send: a placeholder that stands in a string of it filled, escaped as JSON."""
        if body is None or b"{secret:" not in body:
            return body
        text = body.decode()
        return PLACEHOLDER.sub(lambda m: json.dumps(self._value(m[1]))[1:-1] if m[1] in self._names else m[0], text).encode()

    def _value(self, name: str) -> str:
        if name not in self._known:
            raw = self._values.get(name, "").strip()
            if not raw:
                raise SettingsError(
                    f"feed {self._feed} needs the key that the agency issued",
                    where=name,
                    mend=f"set the environment variable {name}",
                )
            undo = self._auth.percent_encoded and name == self._auth.secret
            # A private key is text of many lines; one line end in a header or address would be an injection.
            lines = raw.replace("\r\n", "\\n").replace("\n", "\\n") if self._auth.kind == "private_key" else raw
            self._known[name] = normalise_key(lines, name=name, percent_encoded=undo)
            self._masked |= {self._known[name], raw}
            self._compile()
        return self._known[name]

    # --- masking ---

    def _compile(self) -> None:
        longest_first = sorted(self._masked, key=len, reverse=True)
        self._mask = re.compile(b"|".join(_pattern(v) for v in longest_first))
        in_body = [v for v in longest_first if len(v) >= SHORTEST_IN_BODY]
        self._body_mask = re.compile(b"|".join(_pattern(v) for v in in_body)) if in_body else None
        self._longest = max((_LONGEST_FORM * len(v.encode()) for v in in_body), default=0)

    def redact(self, text: str) -> str:
        """The text with every form of every secret masked at equal length; unfilled placeholders become `***`."""
        if "{" in text:
            text = PLACEHOLDER.sub("***", text)
        if self._mask is None:
            return text
        return self._mask.sub(_stars, _encoded(text)).decode("utf-8", "surrogateescape")

    def carries(self, text: str) -> bool:
        """Whether a secret, in any form, or a placeholder stands in the text."""
        if PLACEHOLDER.search(text):
            return True
        return self._mask is not None and self._mask.search(_encoded(text)) is not None

    def body_masker(self) -> BodyMasker:
        """A fresh masker for one body."""
        return BodyMasker(self._body_mask, self._longest)


class BodyMasker:
    """Masks secrets in a body that streams by, across chunk borders too. `hits`: how many were found so far."""

    def __init__(self, pattern: re.Pattern[bytes] | None, longest: int) -> None:
        self._pattern, self._hold = pattern, max(longest - 1, 0)
        self._pending = b""
        self.hits = 0

    def feed(self, chunk: bytes) -> bytes:
        """The bytes that are safe to pass on now. All of them come out in the end, in number and order."""
        if self._pattern is None:
            return chunk
        return self._take(self._pending + chunk, final=False)

    def flush(self) -> bytes:
        """What was held back, at the body's end."""
        if self._pattern is None:
            return b""
        return self._take(self._pending, final=True)

    def _take(self, data: bytes, *, final: bool) -> bytes:
        # A match that starts before `safe` lies wholly in `data`, so what follows cannot change it.
        safe = len(data) if final else max(len(data) - self._hold, 0)
        out: list[bytes] = []
        position = 0
        assert self._pattern is not None
        for match in self._pattern.finditer(data):
            if match.start() >= safe:
                break
            out += [data[position : match.start()], _stars(match)]
            position = match.end()
            self.hits += 1
        end = max(safe, position)
        out.append(data[position:end])
        self._pending = data[end:]
        return b"".join(out)


def normalise_key(raw: str, *, name: str, percent_encoded: bool) -> str:
    """The key as it must be encoded once. Undoes one percent-encoding where the feed says so (protocols.md 2.1).

    Raises SettingsError, without the key in it, for a lone `%`, a control character or bytes that are no UTF-8.
    """
    key, problem = raw, ""
    if percent_encoded:
        if "%" in _ENCODED.sub("", raw):
            problem = "it holds a % that encodes nothing"
        else:
            try:
                key = unquote(raw, errors="strict")
            except UnicodeDecodeError:
                problem = "its percent-encoding is no UTF-8"
            if "%" in key:
                problem = "it is percent-encoded more than once"
    if any(ord(c) < 32 or ord(c) == 127 for c in key):
        problem = "it holds a control character"
    if problem:
        raise SettingsError(f"the key cannot be used: {problem}", where=name, mend="copy it again from the agency's page")
    return key


_LONGEST_FORM = len("&#x2f;")


def _pattern(value: str) -> bytes:
    """Matches the value raw, percent-encoded once or twice (either case, wholly or in part), JSON- and XML-escaped."""
    return b"".join(_byte_pattern(c) for c in value)


def _byte_pattern(char: str) -> bytes:
    raw = char.encode()
    if char in _PLAIN:
        return re.escape(raw)
    once = b"".join(b"%%%02x" % b for b in raw)
    twice = once.replace(b"%", b"%25")
    forms = {twice, once, f"\\u{ord(char):04x}".encode(), f"&#x{ord(char):x};".encode(), f"&#{ord(char)};".encode()}
    forms |= {html.escape(char).encode(), b"\\" + raw, raw}
    if char == "+":
        forms |= {b" ", b"%20"}  # what a server shows that took the plus for a space
    longest_first = sorted((f for f in forms if len(f) <= _LONGEST_FORM * len(raw)), key=lambda f: (-len(f), f))
    return b"(?i:" + b"|".join(re.escape(f) for f in longest_first) + b")"


def _encoded(text: str) -> bytes:
    """Bytes that were escaped as they came, other lone surrogates, which JSON may hold, as U+FFFD."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return _LONE.sub("\ufffd", text).encode("utf-8", "surrogateescape")


def _stars(match: re.Match[bytes]) -> bytes:
    return b"*" * len(match[0])
