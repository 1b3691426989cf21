"""All that the descriptions of one release are made of, in one value; no description looks anywhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

from assets.feeds.model import Feed
from assets.training_sets.model import TrainingSet
from assets.training_sets.shards import Shard
from assets.training_sets.split import SPLITS
from assets.training_sets.versions import Difference

if TYPE_CHECKING:
    from assets.archive.fetches import FetchRecord

SPEC = "1.0"
NOT_ASSESSED = "not assessed"
TECHNICAL_TEXT = {
    "_record_id": "Id of the record, stable across versions.",
    "_source_id": "Fetch that first brought this content; see provenance/sources.parquet.",
    "_source_row": "Number of the row in that fetch, from 1.",
    "_fetched_at": "When this content was first seen, UTC.",
    "_component_id": "Group that stays in one split as a whole.",
    "_split": "Split of the record.",
}


@dataclass(frozen=True)
class Facts:
    """One release about to be described. Datetimes are aware, in UTC; `public_url` is where `sets/` is served, or None.

    `origin`: the weakest of its sources' origins (synthetic, replay, agency). `rights`: legal/rights.json.
    """

    spec: TrainingSet
    version: str
    previous_version: str | None
    created_at: datetime
    as_of: datetime | None
    origin: str
    frame: pl.DataFrame
    schema: pa.Schema
    shards: tuple[Shard, ...]
    difference: Difference
    left_out: Mapping[str, int]
    feeds: Mapping[str, Feed]
    fetches: tuple[FetchRecord, ...]
    rights: Mapping[str, Any]
    public_url: str | None
    tool_versions: Mapping[str, str]
    read: int
    changelog: tuple[Mapping[str, Any], ...] = field(default=())

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def synthetic(self) -> bool:
        return self.origin == "synthetic"

    @property
    def prefix(self) -> str:
        """Store key of the release."""
        return f"sets/{self.name}/v{self.version}"

    @property
    def url(self) -> str | None:
        """Public address of the release, without a slash at its end."""
        return f"{self.public_url.rstrip('/')}/{self.prefix}" if self.public_url else None

    def address(self, relative: str) -> str:
        """Public address of a file of the release; relative where nothing is public."""
        return f"{self.url}/{relative}" if self.url else relative

    @property
    def rows(self) -> dict[str, int]:
        """Rows per split, in the order train, validation, test."""
        counts = {str(s): int(n) for s, n in self.frame.group_by("_split").len().iter_rows()}
        return {s: counts[s] for s in SPLITS if s in counts}

    def split(self, name: str) -> pl.DataFrame:
        return self.frame.filter(pl.col("_split") == name)

    def head(self, status: str | None = None) -> dict[str, Any]:
        """The first keys of every report."""
        head: dict[str, Any] = {"spec": SPEC, "dataset_id": self.name, "version": self.version}
        head["generated_at"] = stamp(self.created_at)
        head["origin"] = self.origin
        return {**head, "status": status} if status is not None else head

    def describe(self, column: str) -> str:
        """The declared description of a column, or that of a technical one."""
        if column in TECHNICAL_TEXT:
            return TECHNICAL_TEXT[column]
        declared = next((f for f in self.spec.features if f.name == column), None)
        return declared.description if declared is not None else f"Label: {column}."

    def cleared(self, column: str) -> bool:
        """Whether values of the column may be shown in cards, profiles and reports."""
        if column.startswith("_"):
            return column == "_split"
        declared = next((f for f in self.spec.features if f.name == column), None)
        return declared.cleared if declared is not None else True


def stamp(moment: datetime) -> str:
    """RFC 3339 UTC in seconds."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def origin_line(origin: str) -> str:
    """What the card's first line says of where the rows come from."""
    return {
        "agency": "Origin: agency. The rows were fetched from the agencies named below.",
        "replay": "Origin: replay. Agency files served again from a recording; nothing was fetched from the agency for it.",
        "synthetic": "Origin: synthetic. Rows made up to test the method; they are nobody's data, no figure is a finding.",
    }[origin]
