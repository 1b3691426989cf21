"""croissant.json: Croissant 1.1 with RAI 1.0, in the form that mlcroissant really loads (ai-ready.md 1.1).

One FileObject per shard, one record set per split (per shard where a split has several), both Parquet media types, `@vocab`
over https: each of these is there because the nicer form validates and then fails on reading.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from assets.training_sets.describe.facts import NOT_ASSESSED, Facts, origin_line, stamp
from assets.training_sets.describe.schema import croissant_type

CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "annotation": "cr:annotation",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "excludes": "cr:excludes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "prov": "http://www.w3.org/ns/prov#",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "readLines": "cr:readLines",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "sdVersion": "cr:sdVersion",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
    "unArchive": "cr:unArchive",
    "value": "cr:value",
}
_SPLIT_TERMS = {"train": "cr:TrainingSplit", "validation": "cr:ValidationSplit", "test": "cr:TestSplit"}
_NOBODY_DID = (
    "dataAnnotationProtocol",
    "dataAnnotationPlatform",
    "dataAnnotationAnalysis",
    "annotationsPerItem",
    "annotatorDemographics",
    "machineAnnotationTools",
    "dataSocialImpact",
    "dataBiases",
    "personalSensitiveInformation",
)
REQUIRED = ("@context", "@type", "conformsTo", "description", "license", "name", "url", "creator", "datePublished", "distribution")
"""What the specification requires; mlcroissant does not enforce all of it, so a gate does."""


def croissant(facts: Facts, *, local: bool) -> dict[str, Any]:
    """The document. `local`: paths relative to the release, for whoever has it as a folder; else its public addresses."""
    splits = list(facts.rows)
    document: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": facts.name,
        "alternateName": [facts.spec.title, facts.spec.title_en],
        "description": f"{facts.spec.summary} {origin_line(facts.origin)}",
        "version": facts.version,
        "sdVersion": facts.version,
        "isLiveDataset": False,
        "license": facts.rights["outbound_license"]["url"],
        "url": facts.url or f"urn:madang:sets:{facts.name}",
        "creator": {"@type": "sc:Organization", "name": facts.spec.publisher},
        "publisher": {"@type": "sc:Organization", "name": facts.spec.publisher},
        "datePublished": stamp(facts.created_at),
        "dateModified": stamp(facts.created_at),
        "inLanguage": list(facts.spec.language),
        "keywords": [facts.spec.task, *facts.spec.tags],
        "citeAs": bibtex(facts),
        "distribution": [_file(facts, shard.path, shard.bytes, shard.sha256, local) for shard in facts.shards],
        "recordSet": [_splits(splits), *_classes(facts), *(r for split in splits for r in _records(facts, split))],
        **_rai(facts),
    }
    if not facts.synthetic:
        document["prov:wasDerivedFrom"] = [
            {
                "@type": "prov:Entity",
                "prov:label": f.feed,
                "sc:identifier": f.fetch_id,
                "sc:sha256": f.payload_sha256,
                "sc:dateCreated": stamp(f.finished_at),
            }
            for f in facts.fetches
        ]
    return document


def bibtex(facts: Facts) -> str:
    """A citation. A synthetic release names no agency, and neither does this."""
    key, year = f"{facts.name}_{facts.version.replace('.', '_')}", facts.created_at.year
    note = f", note={{{facts.origin} rows}}" if facts.origin != "agency" else ""
    who, what = f"author={{{{{facts.spec.publisher}}}}}", f"title={{{facts.spec.title_en}}}"
    return f"@misc{{{key}, {what}, {who}, year={{{year}}}, version={{{facts.version}}}{note}}}"


def _file(facts: Facts, path: str, size: int, sha256: str, local: bool) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": path,
        "name": path,
        "contentUrl": path if local else facts.address(path),
        "contentSize": f"{size} B",
        "encodingFormat": ["application/x-parquet", "application/vnd.apache.parquet"],
        "sha256": sha256,
    }


def _splits(splits: list[str]) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": "splits",
        "name": "splits",
        "description": "The splits of this data set.",
        "dataType": "cr:Split",
        "key": {"@id": "splits/name"},
        "field": [
            {"@type": "cr:Field", "@id": "splits/name", "name": "name", "dataType": "sc:Text"},
            {"@type": "cr:Field", "@id": "splits/url", "name": "url", "dataType": ["sc:URL", "cr:Split"]},
        ],
        "data": [{"splits/name": s, "splits/url": _SPLIT_TERMS[s]} for s in splits],
    }


def _classes(facts: Facts) -> list[dict[str, Any]]:
    """The label's classes as an enumeration: number and name."""
    label = facts.spec.label
    if label.classes is None:
        return []
    return [
        {
            "@type": "cr:RecordSet",
            "@id": "classes",
            "name": "classes",
            "description": f"The classes of {label.column}.",
            "dataType": "sc:Enumeration",
            "key": {"@id": "classes/id"},
            "field": [
                {"@type": "cr:Field", "@id": "classes/id", "name": "id", "dataType": "sc:Integer"},
                {"@type": "cr:Field", "@id": "classes/name", "name": "name", "dataType": "sc:Text"},
            ],
            "data": [{"classes/id": i, "classes/name": c} for i, c in enumerate(label.classes)],
        }
    ]


def _records(facts: Facts, split: str) -> list[dict[str, Any]]:
    """mlcroissant cannot read one record set out of several http files, so a split of several shards has as many record sets."""
    shards = [s.path for s in facts.shards if s.split == split]
    found = []
    for number, shard in enumerate(shards):
        name = f"default/{split}" if len(shards) == 1 else f"default/{split}/{number:05d}"
        found.append(
            {
                "@type": "cr:RecordSet",
                "@id": name,
                "name": name,
                "description": f"Records of the {split} split."
                if len(shards) == 1
                else f"Records of the {split} split, shard {number}.",
                "key": {"@id": f"{name}/_record_id"},
                "field": [_field(facts, name, shard, column) for column in facts.schema.names],
            }
        )
    return found


def _field(facts: Facts, record_set: str, shard: str, column: str) -> dict[str, Any]:
    dtype = facts.schema.field(column).type
    return {
        "@type": "cr:Field",
        "@id": f"{record_set}/{column}",
        "name": column,
        "description": facts.describe(column),
        "dataType": [croissant_type(dtype), "cr:Label"] if column == facts.spec.label.column else croissant_type(dtype),
        "source": {"fileObject": {"@id": shard}, "extract": {"column": column}},
    }


def _rai(facts: Facts) -> dict[str, Any]:
    spec = facts.spec
    seen = [t for t in (facts.frame["_fetched_at"].min(), facts.frame["_fetched_at"].max()) if isinstance(t, datetime)]
    sources = (
        "Synthetic rows, made to test the method."
        if facts.synthetic
        else "Rows published by the agencies named in legal/ATTRIBUTION.md."
    )
    said = {
        "dataCollection": sources,
        "dataCollectionType": "Synthetic" if facts.synthetic else "Secondary Data analysis",
        "dataCollectionMissingData": "A value that the source does not give is null; nothing is imputed.",
        "dataCollectionRawData": "Kept as received in the publisher's archive; provenance/sources.parquet has digests.",
        "dataCollectionTimeframe": [stamp(t) for t in seen],
        "dataImputationProtocol": "None.",
        "dataManipulationProtocol": "Columns known only after the outcome are left out; schema/default.json lists them.",
        "dataPreprocessingProtocol": [
            "Typed and judged row by row against the feed's contract; refused rows are in quarantine, not here."
        ],
        "dataReleaseMaintenancePlan": "Each change is a new version; a published version is never altered. See CHANGELOG.md.",
        "dataLimitations": list(spec.limits) or NOT_ASSESSED,
        "dataUseCases": list(spec.intended_uses),
    }
    return {**{f"rai:{k}": v for k, v in said.items()}, **{f"rai:{k}": NOT_ASSESSED for k in _NOBODY_DID}}
