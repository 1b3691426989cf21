"""legal/rights.json, legal/ATTRIBUTION.md, legal/LICENSE and provenance/sources.parquet, from the licences of the feeds.

The arithmetic of licences is `quality/rights.py`. A synthetic release carries no agency's attribution: nothing in it is theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from assets.feeds.model import Feed
from assets.training_sets.describe.facts import NOT_ASSESSED, Facts
from assets.training_sets.model import TrainingSet
from quality.rights import Input, attribution_en, attribution_ko, combine, terms

if TYPE_CHECKING:
    from assets.archive.fetches import FetchRecord

SYNTHETIC_NOTE = "Synthetic rows: no agency's data is in this release, so no agency is to be named."


def inputs(spec: TrainingSet, feeds: Mapping[str, Feed]) -> list[Input]:
    """One input of the licence arithmetic per feed of the set."""
    return [
        Input(
            source_id=feed.id,
            licence=feed.licence.id,
            holder=feed.agency.name,
            holder_en=feed.agency.name_en,
            title=feed.title,
            url=feed.documentation or feed.agency.url or "",
            licence_url=feed.licence.url,
            redistribution=feed.licence.redistribution,
            ai_training=feed.licence.ai_training,
            attribution=feed.licence.attribution,
        )
        for feed in (feeds[i] for i in spec.feeds)
    ]


def rights_json(spec: TrainingSet, feeds: Mapping[str, Feed], fetches: Sequence[FetchRecord], synthetic: bool) -> dict[str, Any]:
    """The document. `conflicts` empty is a gate; `outbound_license` is there even then, as what would follow."""
    parts = inputs(spec, feeds)
    rights = combine(parts, spec.licence_mode)
    observed = {f.feed: f for f in sorted(fetches, key=lambda f: f.finished_at)}
    outbound = rights.outbound or "none"
    known = terms(outbound)
    url = known.url or next((i.licence_url for i in parts if i.licence == outbound), "") or "urn:madang:licence:none"
    return {
        "outbound_license": {"id": outbound, "title": known.title, "title_ko": known.title_ko, "url": url},
        "mode": rights.mode,
        "training_use": rights.training_use,
        "commercial_use": rights.commercial_use,
        "redistribution": rights.redistribution,
        "attribution_required": rights.attribution_required and not synthetic,
        "attribution_text_ko": "" if synthetic else attribution_ko(parts),
        "attribution_text_en": SYNTHETIC_NOTE if synthetic else attribution_en(parts),
        "inputs": [
            {
                "source_id": part.source_id,
                "license": part.licence,
                "license_at_fetch": observed[part.source_id].licence if part.source_id in observed else None,
                "license_text_sha256": None,
                "observed_at": observed[part.source_id].finished_at.isoformat() if part.source_id in observed else None,
                "url": part.licence_url,
                "holder": None if synthetic else part.holder,
            }
            for part in parts
        ],
        "conflicts": [{"sources": list(c.sources), "licenses": list(c.licences), "reason": c.reason} for c in rights.conflicts],
        "decision_trace": list(rights.decision_trace),
        "personal_data_basis": NOT_ASSESSED,
        "tdm_reservation_checked": NOT_ASSESSED,
    }


def attribution_md(facts: Facts) -> str:
    """Ready text for whoever uses the data, in Korean and English."""
    if facts.synthetic:
        return f"# Attribution\n\n{SYNTHETIC_NOTE}\n"
    korean, english = facts.rights["attribution_text_ko"], facts.rights["attribution_text_en"]
    if not korean and not english:
        return "# Attribution\n\nNone of the sources asks to be named. Naming them is good practice:\n\n" + "".join(
            f"- {feed.agency.name_en or feed.agency.name}: {feed.title_en or feed.title}\n" for feed in facts.feeds.values()
        )
    return f"# 출처 표시 · Attribution\n\n{korean}\n\n{english}\n\nNaming a source does not mean that it endorses the use.\n"


def licence_note(facts: Facts) -> str:
    """legal/LICENSE: which licence holds and where its text is; the text itself is the licensor's."""
    licence = facts.rights["outbound_license"]
    return (
        f"{facts.spec.title_en}, version {facts.version}\n\nLicence: {licence['title']} ({licence['id']})\nText: {licence['url']}\n"
        "Computed from the licences of the sources; rights.json shows how.\n"
    )


SOURCES = pa.schema(
    [
        ("source_id", pa.string()),
        ("feed", pa.string()),
        ("agency", pa.string()),
        ("agency_en", pa.string()),
        ("title", pa.string()),
        ("url", pa.string()),
        ("origin", pa.string()),
        ("outcome", pa.string()),
        ("fetched_at", pa.timestamp("us", tz="UTC")),
        ("http_etag", pa.string()),
        ("bytes", pa.int64()),
        ("rows", pa.int64()),
        ("payload_sha256", pa.string()),
        ("warc_key", pa.string()),
        ("license", pa.string()),
        ("attribution_ko", pa.string()),
        ("attribution_en", pa.string()),
    ]
)


def sources_table(facts: Facts) -> pa.Table:
    """provenance/sources.parquet: one row a fetch; `source_id` is what `_source_id` of a record names."""
    by_feed = {i.source_id: i for i in inputs(facts.spec, facts.feeds)}
    rows = []
    for fetch in sorted(facts.fetches, key=lambda f: (f.feed, f.fetch_id)):
        part, own = by_feed.get(fetch.feed), facts.feeds.get(fetch.feed)
        named = None if facts.synthetic or fetch.origin == "synthetic" or part is None or own is None else (part, own)
        rows.append(
            {
                "source_id": fetch.fetch_id,
                "feed": fetch.feed,
                "agency": named[1].agency.name if named else None,
                "agency_en": named[1].agency.name_en if named else None,
                "title": own.title if own else None,
                "url": fetch.url,
                "origin": fetch.origin,
                "outcome": fetch.outcome,
                "fetched_at": fetch.finished_at,
                "http_etag": fetch.etag,
                "bytes": fetch.bytes_read,
                "rows": fetch.rows,
                "payload_sha256": fetch.payload_sha256,
                "warc_key": fetch.warc_key,
                "license": fetch.licence,
                "attribution_ko": attribution_ko([named[0]]) if named else None,
                "attribution_en": attribution_en([named[0]]) if named else None,
            }
        )
    return pa.Table.from_pylist(rows, schema=SOURCES)
