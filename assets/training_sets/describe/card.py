"""README.md (a Hugging Face card), CITATION.cff and CHANGELOG.md. Every figure comes from `Facts`, none is typed."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML

from assets.training_sets.describe.croissant import bibtex
from assets.training_sets.describe.facts import NOT_ASSESSED, Facts, origin_line, stamp
from assets.training_sets.describe.schema import schema_json
from assets.training_sets.shards import CONFIG, canary
from assets.training_sets.split import duration

_HF_LICENCES = {
    "CC0-1.0": "cc0-1.0",
    "CC-BY-4.0": "cc-by-4.0",
    "CC-BY-SA-4.0": "cc-by-sa-4.0",
    "CC-BY-NC-4.0": "cc-by-nc-4.0",
    "CC-BY-NC-SA-4.0": "cc-by-nc-sa-4.0",
    "ODbL-1.0": "odbl",
}
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10_000_000, "1M<n<10M"))


def readme(facts: Facts, evidence: Mapping[str, Any]) -> str:
    """The card. `evidence`: `leakage` and `quality` reports' checks, by report name."""
    return f"---\n{_yaml(card_data(facts))}---\n{_body(facts, evidence)}"


def card_data(facts: Facts) -> dict[str, Any]:
    """The card's YAML: what hubs and `datasets` read."""
    licence = facts.rights["outbound_license"]
    tag = _HF_LICENCES.get(licence["id"])
    rows, total = facts.rows, sum(facts.rows.values())
    named = {"license": tag} if tag else {"license": "other", "license_name": licence["id"].lower(), "license_link": licence["url"]}
    sizes = {s: sum(x.bytes for x in facts.shards if x.split == s) for s in rows}
    return {
        "pretty_name": facts.spec.title_en,
        "language": list(facts.spec.language),
        **named,
        "tags": ["tabular", "mlcroissant", *facts.spec.tags, *([facts.origin] if facts.origin != "agency" else [])],
        "task_categories": [facts.spec.task],
        "size_categories": [next((name for limit, name in _SIZES if total < limit), "10M<n<100M")],
        "source_datasets": ["original"],
        "annotations_creators": ["no-annotation"],
        "configs": [
            {
                "config_name": CONFIG,
                "default": True,
                "data_files": [{"split": s, "path": f"data/{CONFIG}/{s}/*.parquet"} for s in rows],
            }
        ],
        "dataset_info": [
            {
                "config_name": CONFIG,
                "features": _features(facts),
                "splits": [{"name": s, "num_bytes": sizes[s], "num_examples": n} for s, n in rows.items()],
                "download_size": sum(sizes.values()),
                "dataset_size": sum(sizes.values()),
            }
        ],
    }


def _features(facts: Facts) -> list[dict[str, Any]]:
    found = []
    for column in schema_json(facts)["columns"]:
        feature = column["hf_feature"]
        if feature["_type"] == "ClassLabel":
            found.append(
                {"name": column["name"], "dtype": {"class_label": {"names": {str(i): c for i, c in enumerate(feature["names"])}}}}
            )
        else:
            found.append({"name": column["name"], "dtype": feature["dtype"]})
    return found


def _yaml(data: Mapping[str, Any]) -> str:
    out = io.StringIO()
    yaml: Any = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.allow_unicode = True
    yaml.sort_base_mapping_type_on_output = False
    yaml.width = 120
    yaml.dump(dict(data), out)
    return out.getvalue()


def _list(items: Any, otherwise: str = NOT_ASSESSED) -> str:
    return "\n".join(f"- {i}" for i in items) or otherwise


def _body(facts: Facts, evidence: Mapping[str, Any]) -> str:
    spec, rows = facts.spec, facts.rows
    columns = "\n".join(_column_row(c) for c in schema_json(facts)["columns"])
    table = f"| column | type | role | title | meaning | unit |\n| --- | --- | --- | --- | --- | --- |\n{columns}"
    left_out = _list((f"`{c.name}` ({c.reason.replace('_', ' ')}): {c.note}" for c in spec.left_out), "None.")
    splits = "| split | records |\n| --- | --- |\n" + "\n".join(f"| {s} | {n:,} |" for s, n in rows.items())
    dropped = _list((f"{n:,} records: {reason}" for reason, n in facts.left_out.items()), "No record was left out.")
    as_of = stamp(facts.as_of) if facts.as_of else NOT_ASSESSED
    licence = facts.rights["outbound_license"]
    attribution = facts.rights["attribution_text_en"] or "No attribution is required; see legal/ATTRIBUTION.md."
    source_lines = _list(
        sorted({f"{f.feed}: fetch `{f.fetch_id}`, {stamp(f.finished_at)}, {f.origin}" for f in facts.fetches}),
        "No fetch is recorded.",
    )
    sections = {
        "Summary": f"{spec.summary}\n\n{spec.summary_ko}".strip()
        + f"\n\nVersion {facts.version}, {sum(rows.values()):,} records, as of {as_of}.",
        "Quick start": _quick_start(facts),
        "Intended and out-of-scope uses": f"Intended:\n\n{_list(spec.intended_uses)}\n\nOut of scope:\n\n{_list(spec.unfit_uses)}",
        "Composition": f"{table}\n\nLeft out of the release:\n\n{left_out}",
        "Collection": f"{origin_line(facts.origin)}\n\n{source_lines}",
        "Preparation": f"Rows are judged one by one; refused rows are not here. {facts.read:,} rows came in. Nothing is imputed.",
        "Labels": _label(facts),
        "Splits and leakage proof": f"{_split_text(facts)}\n\n{splits}\n\n{dropped}\n\n{_checks(evidence['leakage'])}",
        "Quality summary": _checks(evidence["quality"]),
        "Bias and limits": f"{_list(spec.limits)}\n\nBias: {NOT_ASSESSED}.",
        "Personal data": f"{NOT_ASSESSED.capitalize()}.",
        "Licence and attribution": f"{licence['title']} ({licence['url']}); computed in `legal/rights.json`.\n\n{attribution}",
        "Provenance": "Each record names its fetch (`_source_id`) and row (`_source_row`); see `provenance/sources.parquet`.",
        "Maintenance": f"Published by {spec.publisher}. A published version is never altered; each change is a new one.",
        "Changes": facts.difference.in_words() + ". See CHANGELOG.md.",
        "Citation": f"```bibtex\n{bibtex(facts)}\n```",
    }
    text = f"{origin_line(facts.origin)}\n\n# {spec.title_en} · {spec.title}\n"
    text += "".join(f"\n## {heading}\n\n{body}\n" for heading, body in sections.items())
    return text + f"\nCanary of the test split, which no training corpus should hold: `{canary(spec)}`\n"


def _column_row(column: Mapping[str, Any]) -> str:
    title, meaning = _cell(column["title_ko"] or column["title_en"]), _cell(column["description"])
    return f"| `{column['name']}` | {column['arrow_type']} | {column['role']} | {title} | {meaning} | {column['unit'] or ''} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _label(facts: Facts) -> str:
    label = facts.spec.label
    head = f"`{label.column}`. Features are known: {facts.spec.known_at}"
    if label.classes is None:
        return head
    counts = dict(facts.frame[label.column].value_counts(name="_n").iter_rows())
    lines = "\n".join(f"| {i} | {c} | {int(counts.get(i, 0)):,} |" for i, c in enumerate(label.classes))
    return f"{head}\n\n| value | class | records |\n| --- | --- | --- |\n{lines}"


def _split_text(facts: Facts) -> str:
    rule = facts.spec.split
    if rule.kind == "time":
        gap = f"; {rule.embargo} before each is left out" if duration(rule.embargo) else ""
        return f"By time: validation from {rule.validation_from}, test from {rule.test_from}{gap}."
    unit = f"groups by {', '.join(facts.spec.group)}" if facts.spec.group else "records, equal ones together"
    return (
        f"By a stable hash of {unit} (salt `{rule.salt}`): {rule.train:.0%} train, {rule.validation:.0%} validation, rest test. "
        "A record keeps its split for ever."
    )


def _checks(checks: Any) -> str:
    lines = "\n".join(f"| {c['id']} | {c['status']} | {_cell(str(c.get('value')))} |" for c in checks)
    return f"| check | status | observed |\n| --- | --- | --- |\n{lines}" if lines else NOT_ASSESSED


def _quick_start(facts: Facts) -> str:
    base = facts.url or f"<folder of {facts.name} {facts.version}>"
    train = f"data/{CONFIG}/train/*.parquet"
    files = [facts.address(s.path) if facts.url else f"{base}/{s.path}" for s in facts.shards if s.split == "train"]
    listed = "[\n" + "".join(f'    "{f}",\n' for f in files[:64]) + "]"
    return f"""Pull a verified copy first, then load the folder:

```sh
madang set pull {facts.name} {facts.name} --version {facts.version}
```

```python
# Hugging Face datasets
from datasets import load_dataset
data = load_dataset("{facts.name}")
# PyTorch
from torch.utils.data import DataLoader
loader = DataLoader(data["train"], batch_size=256, collate_fn=lambda rows: rows)
# polars
import polars as pl
train = pl.read_parquet("{facts.name}/{train}")
# DuckDB
import duckdb
train = duckdb.sql("SELECT * FROM read_parquet('{facts.name}/{train}')")
# Croissant
import mlcroissant as mlc
records = mlc.Dataset("{facts.name}/{"croissant.local.json" if facts.url else "croissant.json"}").records("default/train")
```

The shards of `train`:

```python
files = {listed}
```"""


def citation_cff(facts: Facts) -> str:
    """CITATION.cff 1.2.0."""
    licence = facts.rights["outbound_license"]
    data = {
        "cff-version": "1.2.0",
        "message": "Please cite this version of the data set.",
        "type": "dataset",
        "title": facts.spec.title_en,
        "version": facts.version,
        "date-released": facts.created_at.strftime("%Y-%m-%d"),
        "authors": [{"name": facts.spec.publisher}],
        "license-url": licence["url"],
        **({"url": facts.url} if facts.url else {}),
    }
    return _yaml(data)


def changelog(facts: Facts) -> str:
    """This version's entry, then those before, newest first."""
    text = f"# Changes of {facts.spec.title_en}\n\n## {facts.version} ({stamp(facts.created_at)})\n\n"
    text += "First release.\n" if facts.previous_version is None else f"{facts.difference.in_words()}.\n".capitalize()
    for entry in facts.changelog:
        text += f"\n## {entry['version']} ({entry['released_at']})\n\n{entry.get('changes', '')}\n"
    return text
