"""schema/<config>.json: every column of the shards with its type in four vocabularies and its meaning."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from assets.training_sets.describe.facts import Facts
from assets.training_sets.shards import hf_features, schema_sha256


def croissant_type(dtype: pa.DataType) -> str:
    """Croissant's data type of an Arrow type."""
    if pa.types.is_integer(dtype):
        return "sc:Integer"
    if pa.types.is_floating(dtype):
        return "sc:Float"
    if pa.types.is_boolean(dtype):
        return "sc:Boolean"
    if pa.types.is_timestamp(dtype):
        return "sc:DateTime"
    return "sc:Date" if pa.types.is_date(dtype) else "sc:Text"


def schema_json(facts: Facts) -> dict[str, Any]:
    """The document. No date and no version in it: the same columns give the same bytes."""
    spec, features = facts.spec, hf_features(facts.spec, facts.schema)
    declared = {f.name: f for f in spec.features}
    columns = []
    for field in facts.schema:
        feature = declared.get(field.name)
        label = field.name == spec.label.column
        columns.append(
            {
                "name": field.name,
                "arrow_type": str(field.type),
                "hf_feature": features[field.name],
                "croissant_data_type": croissant_type(field.type),
                "nullable": field.nullable,
                "title_ko": feature.title_ko if feature else "",
                "title_en": feature.title_en if feature else "",
                "description": facts.describe(field.name),
                "unit": feature.unit if feature else None,
                "role": "label" if label else feature.role if feature else "meta",
                "known_at": feature.known_at if feature else None,
                "classes": list(spec.label.classes) if label and spec.label.classes else None,
                "missing_codes": ["null"] if field.nullable else [],
                "pii_class": "not assessed",
            }
        )
    left_out = [{"name": c.name, "reason": c.reason, "note": c.note} for c in spec.left_out]
    return {
        "dataset_id": spec.name,
        "config": "default",
        "schema_sha256": schema_sha256(facts.schema),
        "columns": columns,
        "left_out": left_out,
    }
