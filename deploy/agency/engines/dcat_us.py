"""An agency's data.json: a catalogue as it lies there, or made around a list of data sets, with validators (protocols.md 3.15)."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from deploy.agency.engine import Asked, Engine
from deploy.agency.replies import Reply, etag_of, http_date
from quality.contract import Strict

if TYPE_CHECKING:
    from deploy.agency.routes import Route, Source

POD = "https://project-open-data.cio.gov/v1.1/schema"
AROUND: dict[str, dict[str, Any]] = {
    "1.1": {
        "@context": f"{POD}/catalog.jsonld", "@type": "dcat:Catalog", "conformsTo": POD, "describedBy": f"{POD}/catalog.json",
    },
    "3.0": {"@type": "Catalog", "title": "Catalog", "conformsTo": {"@type": "Standard", "title": "DCAT-US 3.0"}, "service": []},
    "other": {"@type": "dcat:Catalog", "conformsTo": "https://elsewhere.example/profile"},
}  # fmt: skip


class CatalogueOptions(Strict):
    """What a list of data sets is put into; a sample that is a whole catalogue stays as it is."""

    version: Literal["1.1", "3.0", "other"] = "1.1"


class Catalogue(Engine):
    """One file a route."""

    name: ClassVar[str] = "dcat_us"
    Options: ClassVar[type[Strict]] = CatalogueOptions
    FAULTS: ClassVar[frozenset[str]] = frozenset(
        {"catalog_shrinks_90pct", "modified_churn_only", "keywords_reordered", "identifiers_lost", "catalog_empty"}
    )

    def answer(self, route: Route, source: Source, asked: Asked) -> Reply:
        options = route.settings
        assert isinstance(options, CatalogueOptions)
        body = source.path.read_bytes()
        if asked.faults.keys() & self.FAULTS or body.lstrip()[:1] == b"[":
            whole = json.loads(body)
            if isinstance(whole, list):
                whole = {**AROUND[options.version], "dataset": whole}
            body = json.dumps(whole | {"dataset": _faulty(whole["dataset"], asked)}, ensure_ascii=False, indent=1).encode()
        headers = {
            "content-type": "application/json", "last-modified": http_date(source.modified), "etag": etag_of(body),
            "accept-ranges": "bytes",
        }  # fmt: skip
        return Reply(200, headers, body)


def _faulty(datasets: list[dict[str, Any]], asked: Asked) -> list[dict[str, Any]]:
    """The data sets as the faults that are switched on leave them."""
    if churn := asked.fault("modified_churn_only"):
        # Each time another day on every data set, though nothing else is new; those renewed by interval say the same as ever.
        day = (asked.now + timedelta(days=churn.count)).date().isoformat()
        datasets = [d if str(d.get("modified", "")).startswith("R") else d | {"modified": day} for d in datasets]
    if turned := asked.fault("keywords_reordered"):
        datasets = [d | {"keyword": _turned(d.get("keyword") or [], turned.count)} for d in datasets]
        datasets = _turned(datasets, turned.count)
    if lost := asked.fault("identifiers_lost"):
        every = lost.number(10)
        datasets = [_unnamed(d, n // every) if n % every == 0 else d for n, d in enumerate(datasets)]
    if asked.fault("catalog_shrinks_90pct"):
        datasets = datasets[: max(1, len(datasets) // 10)]
    return [] if asked.fault("catalog_empty") else datasets


def _turned(values: list[Any], by: int) -> list[Any]:
    start = by % len(values) if values else 0
    return values[start:] + values[:start]


def _unnamed(dataset: dict[str, Any], which: int) -> dict[str, Any]:
    """Without an identifier, in one of the ways of real catalogues."""
    rest = {name: value for name, value in dataset.items() if name != "identifier"}
    return [rest, rest | {"identifier": ""}, rest | {"identifier": " \t "}, rest | {"identifier": None}][which % 4]


ENGINE = Catalogue()
