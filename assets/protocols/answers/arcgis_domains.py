"""The coded values of an ArcGIS layer: what its codes are called (protocols.md 3.3). Pure; asking for them is `arcgis.py`.

A field may have a domain, a list of codes with their names; where the layer has types, a type may give a field another one
(Esri's REST API: Layer/Table resource, `fields[].domain`, `types[].domains`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Names = Mapping[str, str]
"""Code as text → its name."""


@dataclass(frozen=True)
class Domains:
    """The names of a layer's codes by field. `kind`: the field that holds a row's type; `of_kind`: what a type has of its own."""

    fields: Mapping[str, Names] = field(default_factory=dict)
    kind: str | None = None
    of_kind: Mapping[str, Mapping[str, Names]] = field(default_factory=dict)

    def digest(self) -> str:
        """Differs where a name does: what tells one edition of the codes from another."""
        said = json.dumps([self.fields, self.kind, self.of_kind], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()[:12]

    def named(self, row: Any) -> Any:
        """The row with `STATUS.name` beside each coded `STATUS`: null where the code has no name. What is no row stays as it is."""
        if not isinstance(row, dict):
            return row
        own = self.of_kind.get(str(row.get(self.kind)), {}) if self.kind else {}
        coded = {**self.fields, **own}
        return row | {f"{name}.name": names.get(str(row[name])) for name, names in coded.items() if name in row}


def domains_of(told: Any) -> Domains:
    """What a layer says of itself, as far as it is about codes; never raises."""
    if not isinstance(told, dict):
        return Domains()
    named = [one for one in _listed(told, "fields") if isinstance(one.get("name"), str)]
    fields = {one["name"]: names for one in named if (names := _names(one.get("domain")))}
    kind = told.get("typeIdField")
    if not isinstance(kind, str) or not kind:
        return Domains(fields)
    kinds = {str(one.get("id")): one for one in _listed(told, "types")}
    called = {ident: str(one["name"]) for ident, one in kinds.items() if "name" in one}
    of_kind = {
        ident: {field: names for field, domain in one["domains"].items() if (names := _names(domain))}
        for ident, one in kinds.items()
        if isinstance(one.get("domains"), dict)
    }
    return Domains({**({kind: called} if called else {}), **fields}, kind, of_kind)


def _listed(told: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    value = told.get(name)
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _names(domain: Any) -> dict[str, str]:
    """Empty where there is no list of codes: a domain may be a range, inherited, or none."""
    if not isinstance(domain, dict):
        return {}
    return {str(one.get("code")): str(one["name"]) for one in _listed(domain, "codedValues") if "name" in one}
