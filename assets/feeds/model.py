"""The model of `feed.yaml`: one declared source of rows (protocols.md 1.8 is where it comes from).

Reading the file, with line numbers for its errors, is `load.py`; what `source:` may say belongs to each protocol.
"""

from __future__ import annotations

from datetime import timedelta
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from assets.protocols.kernel import Protocol, SourceBase, registry
from quality.contract import Contract, ExpectationSpec, Strict

FEED_ID = r"^[a-z][a-z0-9]*(_[a-z0-9]+)*(\.[a-z][a-z0-9]*(_[a-z0-9]+)*)+$"

PROTOCOLS: dict[str, Protocol[Any]] = registry()

if TYPE_CHECKING:
    AnySource = SourceBase
else:
    AnySource = Annotated[reduce(or_, [p.Source for p in PROTOCOLS.values()]), Field(discriminator="protocol")]


class Agency(Strict):
    name: str = Field(min_length=1)
    name_en: str = ""
    country: str = Field(pattern=r"^[A-Z]{2}$", description="ISO 3166-1 alpha-2")
    url: str | None = None


class Licence(Strict):
    """The licence as the agency states it. `id`: SPDX identifier, KOGL-0 … KOGL-4 (KOGL-1-AI with the AI type), US-PD, or other."""

    id: str = Field(pattern=r"^[A-Za-z0-9.\-+]+$")
    url: str
    redistribution: bool | None = None
    ai_training: bool | None = None
    attribution: str = ""


class Schedule(Strict):
    cron: str = Field(description="Five-field cron expression, in `timezone`.")
    timezone: str = "Asia/Seoul"
    lag: timedelta = Field(
        timedelta(0),
        description="ISO 8601 duration from a period's end to its data. For readers: no protocol acts on it yet.",
    )
    lookback: timedelta = Field(
        timedelta(0),
        description="How far back rows are revised. For readers: windowed protocols, which act on it, are not built yet.",
    )

    @field_validator("cron")
    @classmethod
    def _cron(cls, value: str) -> str:
        if len(value.split()) != 5:
            raise ValueError("a cron expression has five fields: minute hour day month weekday")
        from croniter import croniter

        if not croniter.is_valid(value):
            raise ValueError(f"'{value}' is no cron expression: minute hour day month weekday, like '30 3 * * *'")
        return value

    @field_validator("timezone")
    @classmethod
    def _timezone(cls, value: str) -> str:
        from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"'{value}' is no IANA time zone, like Asia/Seoul") from error
        return value


class Incremental(Strict):
    """How a fetch relates to the table: `full` is the whole table anew, `upsert` adds and revises by key."""

    kind: Literal["full", "upsert"] = "full"
    cursor: str | None = Field(None, description="Column whose greatest value wins where one fetch carries a key twice.")
    aliases: str | None = Field(None, description="Column with all ids that a row ever had, comma separated (USGS `ids`).")


class Deletes(Strict):
    mode: Literal["none", "snapshot_diff", "tombstone"] | None = Field(
        None,
        description=(
            "How the agency takes rows back: it does not, by leaving them out of a full fetch, or by sending them marked. "
            "Default: snapshot_diff for full fetches, none for upserts."
        ),
    )
    column: str | None = Field(None, description="tombstone: column of the contract that marks a row as deleted.")
    values: tuple[str, ...] = Field((), description="tombstone: its values that say so, as text: deleted, D, true.")
    shrink_guard: float = Field(0.2, ge=0, le=1, description="Share of rows that may vanish before the table is blocked.")


class Decode(Strict):
    """How text becomes values, for every column that does not say otherwise (protocols.md 1.6, 1.7)."""

    encoding: str | None = Field(None, description="Declared encoding of text files; the ladder tries BOM and strict UTF-8 first.")
    null_values: tuple[str, ...] = ("",)
    sentinels: tuple[float, ...] = ()
    timezone: str = Field("UTC", description="Zone of timestamps that carry none.")
    allow_24h: bool = Field(False, description="24:00 is midnight at the day's end; without this it is refused.")
    trim: bool = Field(True, description="Drop white space around values.")


class Verified(Strict):
    """When a fetch of the real agency, and its licence page, were archived. Empty: nobody has seen the real answer yet."""

    live: str | None = None
    licence_page: str | None = None


class Contact(Strict):
    name: str
    email: str | None = None


class Feed(Strict):
    """One declared source of rows."""

    id: str = Field(pattern=FEED_ID, description="Lower-case words joined by _, segments joined by '.': kr.airkorea.sido_hourly")
    title: str
    title_en: str = ""
    description: str = ""
    agency: Agency
    licence: Licence
    documentation: str | None = Field(None, description="Page where the agency documents the source.")
    schedule: Schedule
    enabled: bool = True
    source: AnySource
    incremental: Incremental = Incremental()
    deletes: Deletes = Deletes()
    decode: Decode = Decode()
    contract: Contract
    expectations: tuple[ExpectationSpec, ...] = ()
    verified: Verified = Verified()
    contact: Contact | None = None
    owners: tuple[str, ...] = Field((), description="Dagster owners: e-mail addresses or team:name.")
    notes: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> Feed:
        names = {c.name for c in self.contract.columns}
        if self.incremental.kind == "upsert" and not self.contract.key:
            raise ValueError("incremental.kind: upsert needs contract.key, the columns that identify a row")
        for field, value in (("cursor", self.incremental.cursor), ("aliases", self.incremental.aliases)):
            if value is not None and value not in names:
                raise ValueError(f"incremental.{field} names '{value}', which is no column of the contract")
        if (self.deletes_mode == "tombstone") != (self.deletes.column is not None and bool(self.deletes.values)):
            raise ValueError("deletes: mode: tombstone goes with 'column' and 'values', which mark a deleted row")
        if self.deletes_mode == "tombstone" and self.incremental.kind != "upsert":
            raise ValueError("deletes.mode: tombstone needs incremental.kind: upsert, where rows are told apart by their key")
        if self.deletes.column is not None and self.deletes.column not in names:
            raise ValueError(f"deletes.column names '{self.deletes.column}', which is no column of the contract")
        if self.deletes_mode == "snapshot_diff" and self.incremental.kind == "upsert":
            raise ValueError("deletes.mode: snapshot_diff needs incremental.kind: full, where absence means something")
        return self

    @property
    def deletes_mode(self) -> Literal["none", "snapshot_diff", "tombstone"]:
        return self.deletes.mode or ("snapshot_diff" if self.incremental.kind == "full" else "none")

    @property
    def segments(self) -> list[str]:
        return self.id.split(".")

    @property
    def relation(self) -> str:
        """SQL name of the feed's table: kr_airkorea__sido_hourly."""
        *agency, last = self.segments
        return f"{'_'.join(agency)}__{last}"

    @property
    def protocol(self) -> Protocol[Any]:
        return PROTOCOLS[self.source.protocol]
