"""The data sets of a DCAT-US catalogue as records: order-free lists in order, what is told from fields, and their digests.

For `dcat_us.py` alone. Finding the records in JSON of any size is `tables/readers/`, which is loaded late: it needs Arrow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from assets.protocols.answers.canonical import canonical_text, value_sha256
from assets.protocols.answers.dcat_us_answers import dated, every

if TYPE_CHECKING:
    from assets.protocols.dcat_us import DcatUsSource

NO_SPACE = " \t\r\n\f\v\u00a0\u200b\ufeff"


def rows_of(source: DcatUsSource, record: Any, hashed: bool) -> list[Any]:
    """The rows of one record; one that is nested without end is a broken record, and costs no other."""
    from assets.tables.readers.json_reader import Broken

    try:
        return list(_rows(source, record, hashed))
    except RecursionError:
        return [Broken("values nested too deeply", "")]


def _rows(source: DcatUsSource, record: Any, hashed: bool) -> Iterator[Any]:
    """The record with its order-free lists in order and what is told from its fields; or one for each of its distributions."""
    if not isinstance(record, dict):
        yield record
        return
    from assets.tables.readers.batches import text_of
    from assets.tables.readers.json_reader import Broken

    identifier = record.get("identifier")
    if isinstance(identifier, (dict, list, bool)):
        yield Broken("the identifier is no text", text_of(record) or "")
        return
    modified, listed = record.get("modified"), _listed(record.get("distribution"))
    row = {name: _in_order(value) if name in source.unordered else value for name, value in record.items()}
    # White space alone identifies nothing: the contract says that a value is required, and the row goes to quarantine.
    row["identifier"] = identifier if identifier is not None and str(identifier).strip(NO_SPACE) else None
    row |= {"modified_at": dated(modified), "modified_every": every(modified), "distributions": len(listed)}
    row["formats"] = _formats(listed)
    if hashed:
        row["content_sha256"] = digest_of(source, record).hex()
    if source.rows == "dataset":
        yield row
        return
    for number, one in enumerate(listed, 1):
        if not isinstance(one, dict):
            yield Broken("a distribution that is no object", text_of(row) or "")
            continue
        url = one.get("downloadURL") or one.get("accessURL")
        yield row | {"distribution": one, "distribution_number": number, "distribution_url": url}


def _in_order(value: Any) -> Any:
    return sorted(value, key=lambda member: canonical_text(_marked(member))) if isinstance(value, list) else value


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _formats(distributions: Sequence[Any]) -> list[str]:
    """The media types of the distributions, else their formats; each once, in order."""
    found = (one.get("mediaType") or one.get("format") for one in distributions if isinstance(one, dict))
    return sorted({text.strip() for text in found if isinstance(text, str) and text.strip()})


def digest_of(source: DcatUsSource, record: Any) -> bytes:
    """Of one data set. That it is updated each week is news, though it stands where others write today's date."""
    dropped = [path for path in source.volatile if path != "modified" or every(_modified(record)) is None]
    return bytes.fromhex(value_sha256(_marked(record), dropped, source.unordered))


def _modified(record: Any) -> Any:
    return record.get("modified") if isinstance(record, dict) else None


def _marked(value: Any) -> Any:
    """The value with its numbers marked, so that 1 is not "1", nor 1.0."""
    from assets.tables.readers.json_text import NumberText

    if isinstance(value, dict):
        return {name: _marked(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_marked(inner) for inner in value]
    if value is None or isinstance(value, bool) or (isinstance(value, str) and not isinstance(value, NumberText)):
        return value
    return {"#": str(value)}
