"""A model's complaint (one of Pydantic's errors) as a sentence for the clerk who wrote the file: field, what, mend.

Only wording is here. No sentence repeats a value that could be a secret; short plain words are repeated, because a
misspelt choice cannot be found otherwise.
"""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

Location = tuple[str | int, ...]

_ENV_NAME = r"^[A-Z][A-Z0-9_]*$"
_PUT_IN_ENVIRONMENT = "put the key in the environment and write its variable's name here, like DATA_GO_KR_KEY"
_QUOTE = "put the value into quotes if it is meant as text"
_EXPECTED: dict[str, tuple[str, str]] = {
    "string_type": ("needs text", _QUOTE),
    "bool_type": ("needs true or false", "write true or false, without quotes"),
    "bool_parsing": ("needs true or false", "write true or false, without quotes"),
    "int_type": ("needs a whole number", "write digits without quotes"),
    "int_from_float": ("needs a whole number", "drop the decimals"),
    "float_type": ("needs a number", "write digits without quotes"),
    "finite_number": ("needs a number", "write digits without quotes"),
    "tuple_type": ("needs a list", "write [a, b] or one '- item' a line"),
    "list_type": ("needs a list", "write [a, b] or one '- item' a line"),
    "dict_type": ("needs keys and values", "write 'key: value' lines, indented below it"),
    "model_type": ("needs keys and values", "write 'key: value' lines, indented below it"),
    "model_attributes_type": ("needs keys and values", "write 'key: value' lines, indented below it"),
    "time_delta_type": ("needs an ISO 8601 duration", "write PT20M, PT3H or P1D"),
    "time_delta_parsing": ("needs an ISO 8601 duration", "write PT20M, PT3H or P1D"),
    "string_too_short": ("is too short", "fill it in, or leave the field out where it is optional"),
    "too_short": ("needs at least one item", "add an item"),
}


def sentence(
    model: type[BaseModel], data: Any, error: Mapping[str, Any], looks_like_key: Callable[[str], bool]
) -> tuple[str, str, str]:
    """One entry of `ValidationError.errors()` as (dotted field, what, mend)."""
    kind, ctx = str(error["type"]), dict(error.get("ctx") or {})
    loc = in_document(data, error["loc"], keep_last=kind in ("missing", "extra_forbidden"))
    field, given = dotted(loc), error.get("input")
    secret = _is_secret(loc, given, looks_like_key)
    if kind == "extra_forbidden":
        return (field, *_unknown(model, data, loc))
    if kind == "missing":
        return field, "is missing", f"add '{loc[-1]}:'"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return _tag(model, data, loc, kind, ctx, hidden=looks_like_key(str(ctx.get("tag", ""))))
    if kind in ("literal_error", "enum"):
        choices = list(re.findall(r"'([^']*)'", str(ctx.get("expected", ""))))
        near = None if secret else _nearest(str(given), choices)
        mend = f"did you mean '{near}'? It can be {_or(choices)}" if near else f"it can be {_or(choices)}"
        return field, f"{_shown(given, secret)} is none of the choices", mend
    if kind == "string_pattern_mismatch":
        if loc[-1:] == ("secret",) and ctx.get("pattern") == _ENV_NAME:
            return field, "is not the name of an environment variable (capital letters, digits and _)", _PUT_IN_ENVIRONMENT
        return field, f"{_shown(given, secret)} does not have the form that this field needs", f"it must match {ctx.get('pattern')}"
    if kind in _EXPECTED:
        return (field, *_EXPECTED[kind])
    if kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        bound = next(v for k, v in ctx.items() if k in ("gt", "ge", "lt", "le"))
        words = {"greater_than": "above", "greater_than_equal": "at least", "less_than": "below", "less_than_equal": "at most"}
        return field, f"must be {words[kind]} {bound:g}", "change the number"
    if kind in ("value_error", "assertion_error"):
        text = str(ctx.get("error", error["msg"]))
        if secret or (isinstance(given, str) and looks_like_key(given)):
            text = text.replace(str(given), "…")
        return field, text, ""
    message = str(error["msg"])
    return field, f"does not fit: {message[0].lower()}{message[1:]}", ""


def in_document(data: Any, loc: Location, *, keep_last: bool) -> Location:
    """`loc` without the parts that are Pydantic's own (a union's tag or member), which the clerk never wrote."""
    found: list[str | int] = []
    for i, part in enumerate(loc):
        if isinstance(data, dict) and part in data:
            data = data[str(part)]
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        elif not (keep_last and i == len(loc) - 1):
            continue
        found.append(part)
    return tuple(found)


def dotted(loc: Location) -> str:
    """('contract', 'columns', 3, 'type') → contract.columns[3].type"""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).removeprefix(".")


def fields_at(model: type[BaseModel], data: Any, loc: Location) -> list[str]:
    """The names that the mapping at `loc` may carry, by its model (every member's where a union's tag does not say)."""
    candidates = [model]
    for part in loc:
        data = data[part]
        if isinstance(part, str):
            annotations = [m.model_fields[part].annotation for m in candidates if part in m.model_fields]
            candidates = [found for a in annotations for found in _models(a)]
        tagged = [m for m in candidates if isinstance(data, dict) and _tag_agrees(m, data)]
        candidates = tagged or candidates
    return sorted({name for m in candidates for name in m.model_fields})


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, types.UnionType, Annotated, tuple, list, dict):
        for inner in get_args(annotation):
            yield from _models(inner)


def _tag_agrees(model: type[BaseModel], data: Mapping[str, Any]) -> bool:
    """Whether a field of `model` with one allowed word (protocol: Literal["http_file"]) says that word in `data`."""
    return any(
        get_origin(f.annotation) is Literal and get_args(f.annotation) == (data.get(name),)
        for name, f in model.model_fields.items()
    )


def _unknown(model: type[BaseModel], data: Any, loc: Location) -> tuple[str, str]:
    names = fields_at(model, data, loc[:-1])
    near = _nearest(str(loc[-1]), names)
    place = f"under {dotted(loc[:-1])}" if len(loc) > 1 else "at the top"
    return "is no field of a declaration here", f"did you mean '{near}'?" if near else f"{place} there can be: {', '.join(names)}"


def _tag(model: type[BaseModel], data: Any, loc: Location, kind: str, ctx: dict[str, Any], *, hidden: bool) -> tuple[str, str, str]:
    discriminator = str(ctx.get("discriminator", "")).strip("'")
    field = f"{dotted(loc)}.{discriminator}"
    expected = ctx.get("expected_tags")
    choices = re.findall(r"'([^']*)'", str(expected)) if expected else _tags(model, data, loc, discriminator)
    listed = f"it can be {_or(choices)}" if choices else ""
    if kind == "union_tag_not_found":
        return field, "is missing", f"add '{discriminator}:'; {listed}" if listed else f"add '{discriminator}:'"
    word = str(ctx.get("tag", ""))
    near = None if hidden else _nearest(word, choices)
    return (
        field,
        f"{_shown(word, hidden)} is none of the choices",
        f"did you mean '{near}'? {listed[0].upper()}{listed[1:]}" if near else listed,
    )


def _tags(model: type[BaseModel], data: Any, loc: Location, discriminator: str) -> list[str]:
    candidates = [model]
    for part in loc:
        if isinstance(part, str):
            annotations = [m.model_fields[part].annotation for m in candidates if part in m.model_fields]
            candidates = [found for a in annotations for found in _models(a)]
    literals = [m.model_fields[discriminator].annotation for m in candidates if discriminator in m.model_fields]
    return sorted(str(word) for a in literals for word in get_args(a))


def _is_secret(loc: Location, given: Any, looks_like_key: Callable[[str], bool]) -> bool:
    return bool({"auth", "secret"} & set(loc)) or (isinstance(given, str) and looks_like_key(given))


def _shown(given: Any, secret: bool) -> str:
    plain = isinstance(given, (str, int, float, bool)) and re.fullmatch(r"[\w.\-+ /:]{1,40}", str(given))
    return f"'{given}'" if plain and not secret else "the value"


def _nearest(word: str, choices: Sequence[str]) -> str | None:
    found = difflib.get_close_matches(word.lower(), [c.lower() for c in choices], n=1, cutoff=0.6)
    return next((c for c in choices if found and c.lower() == found[0]), None)


def _or(choices: Sequence[str]) -> str:
    *rest, last = choices or [""]
    return f"{', '.join(rest)} or {last}" if rest else last
