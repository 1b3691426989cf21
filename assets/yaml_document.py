"""Reading a declaration (feed.yaml, set.yaml): YAML with line numbers, and a model's complaints as sentences for a clerk.

Here is what every declaration shares: size, syntax, where a field stands, how a wrong one is told. What a feed or a set may
say is in their models; what a whole folder of them must agree on is in their `load.py`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent

from assets.errors import DeclarationError
from assets.yaml_plain import plain_data
from assets.yaml_sentences import Location, dotted, sentence

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 32
"""A declaration nests five levels; more is a mistake or an attack on the parser's stack."""

M = TypeVar("M", bound=BaseModel)

_SECRET_NAME = re.compile(
    r"(?i)^(x[-_])?(service|api|access|auth|secret|private|crtfc)?[-_]?(key|token|password|passwd|pw|secret)$|^authorization$"
)
_LOOKS_LIKE_KEY = re.compile(r"^(?=.*\d)(?=.*[A-Za-z])[A-Za-z0-9+/=_%\-]{24,}$")
_PUT_IN_ENVIRONMENT = "put the key in the environment and its variable's name into source.auth.secret"


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a declaration. `line` counts from 1; `field` is a dotted path, empty for the file as a whole."""

    file: str
    line: int
    field: str
    what: str
    mend: str = ""

    def __str__(self) -> str:
        head = ": ".join(part for part in (f"{self.file}:{self.line}", self.field, self.what) if part)
        return f"{head} — {self.mend}" if self.mend else head

    def as_json(self) -> dict[str, str | int]:
        return asdict(self)


class InvalidDeclaration(DeclarationError):
    """A declaration that reads as YAML and does not fit its model; `problems` holds every complaint, in order of line."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        first = self.problems[0]
        more = f" (and {len(self.problems) - 1} more)" if len(self.problems) > 1 else ""
        field = f"{first.field}: " if first.field else ""
        super().__init__(f"{field}{first.what}{more}", where=f"{first.file}:{first.line}", mend=first.mend)


@dataclass(frozen=True)
class Document:
    """A declaration as read. `data`: plain Python (dict, list, str, int, float, bool, None; dates as ISO text)."""

    path: Path
    data: Any
    text: str

    @cached_property
    def node(self) -> Any:
        """ruamel's round-trip tree, which knows the lines; built when somebody asks for one."""
        return _tree(self.text, str(self.path))

    def line(self, loc: Location) -> int:
        """Line, from 1, of the key or item at `loc`, or of the nearest parent that is there.

        Elements that are not in the document (a union's tag in an error of Pydantic) are passed over.
        """
        node, line = self.node, 1
        for part in loc:
            if isinstance(node, CommentedMap) and part in node:
                line, node = node.lc.key(part)[0] + 1, node[part]
            elif isinstance(node, CommentedSeq) and isinstance(part, int) and 0 <= part < len(node):
                line, node = node.lc.item(part)[0] + 1, node[part]
        return line


def read(path: Path) -> Document:
    """Read one declaration: YAML 1.2, one document, a mapping at its top, at most 1 MB, no aliases, no tags.

    Raises DeclarationError with line and column where the text is not that.
    """
    where = str(path)
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DeclarationError(
            f"cannot be read ({error.strerror})", where=where, mend="check the path and its permissions"
        ) from None
    if len(raw) > MAX_BYTES:
        raise DeclarationError("is larger than 1 MB", where=where, mend="a declaration is text; data belongs into files beside it")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DeclarationError("is not UTF-8 text", where=f"{where}:{line}", mend="save the file as UTF-8") from None
    data = plain_data(text, MAX_DEPTH)
    return Document(path, _plain(_tree(text, where), where, 1) if data is None else data, text)


def _tree(text: str, where: str) -> CommentedMap:
    """The careful way: ruamel's round-trip tree. Raises DeclarationError with line and column."""
    yaml = YAML(typ="rt", pure=True)
    yaml.allow_duplicate_keys = False
    try:
        _refuse_tricks(yaml, text, where)
        node = yaml.load(text)
    except DuplicateKeyError as error:
        raise DeclarationError("a key stands twice in one mapping", where=_at(where, error), mend="keep one of the two") from None
    except MarkedYAMLError as error:
        what = " ".join(str(error.problem or "is not YAML").split())
        mend = "check the indentation, quotes and colons on this line and the one above"
        raise DeclarationError(f"YAML syntax: {_without_values(what)}", where=_at(where, error), mend=mend) from None
    except (YAMLError, ValueError, OverflowError):
        raise DeclarationError("is not YAML 1.2", where=where, mend="check for control characters and odd numbers") from None
    if not isinstance(node, CommentedMap):
        raise DeclarationError("is not a mapping of keys to values", where=f"{where}:1", mend="start with 'id: …' or 'name: …'")
    return node


def validate(model: type[M], document: Document, where: str | None = None) -> M:
    """The document as `model`. Raises InvalidDeclaration with every problem found.

    Types are strict, as in JSON: "yes" is no boolean and "5" no number; whole numbers do for floats, ISO text for durations.
    """
    file = where if where is not None else str(document.path)
    problems = list(_secrets(document, file, document.data, ()))
    try:
        found = model.model_validate_json(json.dumps(document.data), strict=True)
    except ValidationError as error:
        for one in error.errors(include_url=False):
            field, what, mend = sentence(model, document.data, one, looks_like_key)
            problems.append(Problem(file, document.line(one["loc"]), field, what, mend))
        found = None
    if found is None or problems:
        raise InvalidDeclaration(sorted(dict.fromkeys(problems), key=lambda p: p.line))
    return found


def looks_like_key(text: str) -> bool:
    """Whether a value could be an API key: long, one word, letters and digits mixed."""
    return bool(_LOOKS_LIKE_KEY.match(text))


def _at(where: str, error: MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    return f"{where}:{mark.line + 1}:{mark.column + 1}" if mark is not None else where


def _without_values(problem: str) -> str:
    """ruamel quotes characters and words of the text in some messages; long ones could be a key."""
    return re.sub(r"(['\"])[^'\"]{13,}\1", "'…'", problem)


def _refuse_tricks(yaml: YAML, text: str, where: str) -> None:
    """Aliases (a few of them expand to billions of nodes), tags and deep nesting, refused before anything is built."""
    depth = 0
    for event in yaml.parse(text):
        mark = event.start_mark
        at = f"{where}:{mark.line + 1}:{mark.column + 1}"
        if isinstance(event, AliasEvent) or getattr(event, "anchor", None) is not None:
            raise DeclarationError("anchors (&) and aliases (*) are not used in declarations", where=at, mend="write the value out")
        if isinstance(event, (ScalarEvent, CollectionStartEvent)) and event.tag is not None and str(event.tag) != "!":
            raise DeclarationError(
                "tags (!…) are not used in declarations", where=at, mend="drop the tag; quote text that starts with !"
            )
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise DeclarationError(f"nests deeper than {MAX_DEPTH} levels", where=at, mend="check the brackets on this line")


def _plain(node: Any, where: str, line: int) -> Any:
    """ruamel's scalar types as what JSON knows."""
    if isinstance(node, CommentedMap):
        for key in node:
            if not isinstance(key, str):
                at = f"{where}:{node.lc.key(key)[0] + 1}"
                raise DeclarationError("a key is not text", where=at, mend="put the key into quotes")
        return {str(k): _plain(v, where, node.lc.key(k)[0] + 1) for k, v in node.items()}
    if isinstance(node, CommentedSeq):
        return [_plain(v, where, node.lc.item(i)[0] + 1) for i, v in enumerate(node)]
    if isinstance(node, bool) or node is None:
        return node
    if type(node).__name__ == "ScalarBoolean":
        return bool(node)
    if isinstance(node, int):
        return int(node)
    if isinstance(node, float):
        if not math.isfinite(node):
            raise DeclarationError(".inf and .nan are no values here", where=f"{where}:{line}", mend="leave the field out")
        return float(node)
    if isinstance(node, datetime):
        return node.isoformat()
    if isinstance(node, date):
        return node.isoformat()
    return str(node)


def _secrets(document: Document, file: str, node: Any, loc: Location) -> Iterator[Problem]:
    """Keys written into the declaration itself: by the name of their field, or inside a URL."""
    if isinstance(node, list):
        for i, value in enumerate(node):
            yield from _secrets(document, file, value, (*loc, i))
    elif isinstance(node, dict):
        for key, value in node.items():
            here = (*loc, key)
            named = isinstance(value, str) and value and loc[-1:] != ("auth",) and _SECRET_NAME.match(key)
            if named and looks_like_key(str(value)):
                yield Problem(file, document.line(here), dotted(here), "holds what looks like a key", _PUT_IN_ENVIRONMENT)
            yield from _secrets(document, file, value, here)
    elif isinstance(node, str) and "://" in node and not any(c.isspace() for c in node) and key_in_url(node):
        yield Problem(file, document.line(loc), dotted(loc), "has a user, password or key in its URL", _PUT_IN_ENVIRONMENT)


def key_in_url(url: str) -> bool:
    """Whether a user, a password or a key stands in the address itself, in place of a variable's name."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return "@" in parts.netloc or any(
        _SECRET_NAME.match(k) and v and not v.startswith("{secret:") for k, v in parse_qsl(parts.query)
    )
