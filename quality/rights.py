"""Rights of a whole from the rights of its parts: the outbound licence, what it permits, and who must be named.

Pure: the table of licences is `licences.yaml`; where a part's licence comes from, and what is published, is the caller's.
This is arithmetic on what the licences say, not advice; a doubtful case comes out as `unknown` or as a conflict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

Mode = Literal["adapted", "collection"]
TrainingUse = Literal["allowed", "allowed_with_attribution", "non_commercial", "unknown", "forbidden"]

TRAINING_ORDER: tuple[TrainingUse, ...] = ("allowed", "allowed_with_attribution", "non_commercial", "unknown", "forbidden")
"""From the widest to the strictest. Unknown is stricter than non-commercial: nobody may count on it."""

# Outbound licences that an adaptation of each family may carry (Creative Commons' chart of adapter's licences), widest
# first. ND permits no shared adaptation at all; share-alike permits its own licence only.
_OUTBOUND: tuple[str, ...] = ("CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0", "ODbL-1.0")
_PERMITTED: dict[str, frozenset[str]] = {
    "pd": frozenset(_OUTBOUND),
    "by": frozenset({"CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0"}),
    "by-nc": frozenset({"CC-BY-NC-4.0", "CC-BY-NC-SA-4.0"}),
    "by-sa": frozenset({"CC-BY-SA-4.0"}),
    "by-nc-sa": frozenset({"CC-BY-NC-SA-4.0"}),
    "odbl": frozenset({"ODbL-1.0"}),
    "by-nd": frozenset(),
    "by-nc-nd": frozenset(),
    "unknown": frozenset(),
}


@dataclass(frozen=True)
class LicenceTerms:
    """One row of the table. `family` names the rule of combination."""

    id: str
    title: str
    family: str
    attribution: bool
    commercial: bool | None
    derivatives: bool | None
    training_use: TrainingUse
    url: str = ""
    title_ko: str = ""


@dataclass(frozen=True)
class Input:
    """One source and the licence its agency states. `redistribution` and `ai_training`: what the feed declares beyond it."""

    source_id: str
    licence: str
    holder: str
    holder_en: str = ""
    title: str = ""
    url: str = ""
    licence_url: str = ""
    year: int | None = None
    redistribution: bool | None = None
    ai_training: bool | None = None
    attribution: str = ""


@dataclass(frozen=True)
class Conflict:
    """The fewest inputs that cannot go together (one or two source ids), and why."""

    sources: tuple[str, ...]
    licences: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Rights:
    """What the whole permits. `redistribution` false means that it must not be published; `conflicts` says why."""

    outbound: str | None
    mode: Mode
    training_use: TrainingUse
    commercial_use: bool
    redistribution: bool
    attribution_required: bool
    conflicts: tuple[Conflict, ...]
    decision_trace: tuple[str, ...]
    inputs: tuple[Input, ...]

    def as_json(self) -> dict[str, Any]:
        """The shape of `legal/rights.json`."""
        document = asdict(self)
        document["outbound_license"] = document.pop("outbound")
        document["attribution_text_ko"] = attribution_ko(self.inputs)
        document["attribution_text_en"] = attribution_en(self.inputs)
        return document


@cache
def table() -> dict[str, LicenceTerms]:
    """The licences that Madang knows, by id."""
    from ruamel.yaml import YAML

    rows = YAML(typ="safe", pure=True).load(Path(__file__).with_name("licences.yaml").read_text("utf-8"))
    return {id_: LicenceTerms(id=id_, **row) for id_, row in rows.items()}


def terms(licence: str) -> LicenceTerms:
    """The terms of a licence id, whatever its case; one that the table does not hold is of the family `unknown`."""
    known = {id_.lower(): row for id_, row in table().items()}
    found = known.get(licence.lower())
    return found or LicenceTerms(
        licence, licence, "unknown", attribution=True, commercial=None, derivatives=None, training_use="unknown"
    )


def combine(inputs: Sequence[Input], mode: Mode = "adapted") -> Rights:
    """The rights of a set made of `inputs`: the same for any order of them, and never wider than those of fewer inputs.

    adapted: rows are joined or changed, so the outbound licence must be one that every input permits for adaptations.
    collection: every record stays apart under its own licence; a member that forbids commerce makes the whole so.
    Errors: ValueError when there is no input.
    """
    if not inputs:
        raise ValueError("rights need at least one input")
    ordered = tuple(sorted(inputs, key=lambda i: (i.source_id, i.licence)))
    trace: list[str] = []
    training: TrainingUse = "allowed"
    for source in ordered:
        own = _training_use(source)
        trace.append(f"{source.source_id}: {terms(source.licence).id}, training {own}")
        training = max(training, own, key=TRAINING_ORDER.index)
    conflicts = _conflicts(ordered, mode)
    commercial = all(terms(i.licence).commercial is True for i in ordered)
    outbound = None if conflicts else _outbound(ordered, mode, trace)
    trace += [f"conflict: {c.reason}" for c in conflicts]
    trace.append(f"{mode}: outbound {outbound or 'none'}, commercial use {'yes' if commercial else 'no'}, training {training}")
    return Rights(
        outbound=outbound,
        mode=mode,
        training_use=training,
        commercial_use=commercial and not conflicts,
        redistribution=not conflicts,
        attribution_required=any(terms(i.licence).attribution or i.attribution for i in ordered),
        conflicts=conflicts,
        decision_trace=tuple(trace),
        inputs=ordered,
    )


def _training_use(source: Input) -> TrainingUse:
    own = terms(source.licence).training_use
    if source.ai_training is False:
        return "forbidden"
    if source.ai_training is True and own == "unknown":
        return "allowed_with_attribution"
    return own


def _permitted(source: Input) -> frozenset[str]:
    family = terms(source.licence).family
    if family == "unknown" and source.redistribution:  # under its own terms only: no licence of ours fits it
        return frozenset({terms(source.licence).id})
    return _PERMITTED[family]


def _binding(inputs: Sequence[Input]) -> Sequence[Input]:
    """The inputs that bind: what is in the public domain goes with anything."""
    return [i for i in inputs if terms(i.licence).family != "pd"] or inputs


def _outbound(inputs: Sequence[Input], mode: Mode, trace: list[str]) -> str:
    if mode == "collection":
        licences = sorted({terms(i.licence).id for i in inputs})
        trace.append(f"each record keeps its own licence: {', '.join(licences)}")
        return licences[0] if len(licences) == 1 else "LicenseRef-per-record"
    own = {terms(i.licence).id for i in inputs}
    if len(own) == 1:  # nothing to combine: the licence that all inputs carry is the one to pass on
        return own.pop()
    common = frozenset.intersection(*(_permitted(i) for i in _binding(inputs)))
    return next((licence for licence in _OUTBOUND if licence in common), None) or sorted(common)[0]


def _conflicts(inputs: Sequence[Input], mode: Mode) -> tuple[Conflict, ...]:
    """Inputs that block by themselves, else the pairs whose permitted outbound licences do not meet."""
    alone = [c for i in inputs if (c := _blocks_alone(i, mode)) is not None]
    if alone or mode == "collection":
        return tuple(alone)
    found = []
    binding = _binding(inputs)
    for a, b in combinations(binding, 2):
        if not _permitted(a) & _permitted(b):
            found.append(_pair(a, b))
    if not found and not frozenset.intersection(*(_permitted(i) for i in binding)):
        ids = tuple(i.source_id for i in binding)
        found.append(
            Conflict(ids, tuple(terms(i.licence).id for i in binding), "no outbound licence is permitted by all inputs together")
        )
    seen: dict[tuple[str, ...], Conflict] = {}
    for conflict in found:  # one pair of sources for each pair of licences is enough to act on
        seen.setdefault(tuple(sorted(conflict.licences)), conflict)
    return tuple(seen.values())


def _blocks_alone(source: Input, mode: Mode) -> Conflict | None:
    own = terms(source.licence)
    where = ((source.source_id,), (own.id,))
    if source.redistribution is False:
        return Conflict(*where, f"{source.source_id} declares that its data may not be redistributed")
    if own.family == "unknown" and not source.redistribution:
        return Conflict(
            *where, f"{own.id} of {source.source_id} is no licence that Madang knows, and the feed does not declare redistribution"
        )
    if mode == "adapted" and own.derivatives is False:
        return Conflict(*where, f"{own.id} of {source.source_id} forbids adaptations, and joined or changed rows are one")
    return None


def _pair(a: Input, b: Input) -> Conflict:
    first, second = terms(a.licence).id, terms(b.licence).id
    reason = f"{first} of {a.source_id} and {second} of {b.source_id} permit no common outbound licence"
    return Conflict((a.source_id, b.source_id), (first, second), reason)


def attribution_ko(inputs: Sequence[Input]) -> str:
    """One line a source; for KOGL in the form that its terms fix."""
    return "\n".join(_line_ko(i) for i in _attributed(inputs))


def attribution_en(inputs: Sequence[Input]) -> str:
    """One line a source: title, holder, year, licence and where it is."""
    return "\n".join(_line_en(i) for i in _attributed(inputs))


def _attributed(inputs: Sequence[Input]) -> list[Input]:
    ordered = sorted(inputs, key=lambda i: (i.source_id, i.licence))
    return [i for i in ordered if terms(i.licence).attribution or i.attribution]


def _line_ko(source: Input) -> str:
    own = terms(source.licence)
    if own.id.startswith("KOGL-"):
        year = f"{source.year}년" if source.year else "연도 미상"
        return (
            f"본 저작물은 '{source.holder}'에서 '{year}' 작성하여 {own.title_ko}으로 개방한 "
            f"'{source.title or source.source_id}(작성자:{source.holder})'을 이용하였으며, 해당 저작물은 "
            f"'{source.holder}, {source.url}'에서 무료로 내려받으실 수 있습니다."
        )
    if source.attribution:
        return source.attribution
    return f"{source.title or source.source_id}, {source.holder}, {own.title} ({own.url or source.licence_url}), {source.url}"


def _line_en(source: Input) -> str:
    own = terms(source.licence)
    if source.attribution and not own.id.startswith("KOGL-"):
        return source.attribution
    year = f", {source.year}" if source.year else ""
    what, who = source.title or source.source_id, source.holder_en or source.holder
    return f"{what}, {who}{year}, {own.title} ({own.url or source.licence_url}), {source.url}. Changes were made."
