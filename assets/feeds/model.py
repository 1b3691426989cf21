"""The model of `feed.yaml`: one declared source of rows (protocols.md 1.8 is where it comes from).

Reading the file, with line numbers for its errors, is `load.py`; what `source:` may say belongs to each protocol.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from assets.errors import DeclarationError
from assets.feeds.partitions import Partitions
from assets.protocols.kernel import Protocol, SourceBase, registry
from assets.protocols.periods import Lag, ZoneName, divides
from assets.protocols.queries import SPAN_PLACES, QuerySource, Window, places_of
from quality.contract import Contract, ExpectationSpec, Strict

FEED_ID = r"^[a-z][a-z0-9]*(_[a-z0-9]+)*(\.[a-z][a-z0-9]*(_[a-z0-9]+)*)+$"
LICENCE_ID = r"^[A-Za-z0-9.\-+]+$"

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

    id: str = Field(pattern=LICENCE_ID)
    url: str
    redistribution: bool | None = None
    ai_training: bool | None = None
    attribution: str = ""


class Schedule(Strict):
    cron: str = Field(description="Five-field cron expression, in `timezone`.")
    timezone: ZoneName = "Asia/Seoul"
    lag: Lag = Field(
        timedelta(0),
        description="From a period's end to its data: PT20M, P3D. The default of source.window.lag and partitions.lag.",
    )
    lookback: timedelta = Field(
        timedelta(0),
        description=(
            "How far back rows are revised: {since}, and the `catch_up` of a window, go back to the last answered fetch less this. "
            "(Partitions have `revised`.)"
        ),
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


def _cuts(window: Window, partitions: Partitions) -> None:
    """Whether a partition can be asked for in the window's periods. ValueError where it cannot."""
    if window.at or window.count != 1 or window.timezone is not None:
        raise ValueError(
            "window: in a partition it is only 'every' (and 'requests', 'lag', 'running'): all its periods are asked for"
        )
    if not divides(str(window.every), partitions.every):
        raise ValueError(f"window: a {partitions.every} is not made of whole {window.every}s; use a shorter period, or no window")


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
    partitions: Partitions | None = Field(None, description="Parts by time, each fetched and replaced on its own.")
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

    @field_validator("source")
    @classmethod
    def _filled_in(cls, source: SourceBase, info: ValidationInfo) -> SourceBase:
        """What the source fills in of a moment is there: of a window, or of the feed's partitions."""
        if "partitions" not in info.data:  # wrong itself, and told so
            return source
        partitions: Partitions | None = info.data["partitions"]
        window = source.window if isinstance(source, QuerySource) else None
        used = places_of(source.model_dump(mode="json", exclude={"each", "window"})) & SPAN_PLACES
        if partitions is None:
            if window is None and (moments := sorted(used - {"partition"})):
                raise ValueError(
                    f"{{{moments[0]}}} is filled in from the window: declare one, like window: {{every: day, count: 3}}"
                )
            return source
        if not used and not (window is not None and isinstance(source, QuerySource) and source.sends_span):
            raise ValueError(
                "the request is the same for every partition, so each would get the same rows; "
                "put {start:%Y%m}, {end:%Y%m} or {partition} where the agency wants the time, or take partitions out"
            )
        if window is not None:
            _cuts(window, partitions)
        return source

    @model_validator(mode="after")
    def _partitioned(self) -> Feed:
        if self.partitions is None:
            return self
        if self.partitions.clock_goes_back(self.schedule):
            zone = self.partitions.zone(self.schedule)
            raise ValueError(f"partitions: an hour comes twice when the clock of {zone} goes back; set partitions.timezone: UTC")
        columns = {c.name: c for c in self.contract.columns}
        for name in self.partitions.columns:
            if name not in columns:
                raise ValueError(f"partitions.column names '{name}', which is no column of the contract")
            column, whole = columns[name], isinstance(self.partitions.column, str)
            if column.nullable:
                raise ValueError(f"partitions.column: {name} says of which partition a row is, and needs 'nullable: false'")
            if whole and column.type not in ("date", "timestamp"):
                raise ValueError(f'partitions.column: {name} is no date or timestamp; give its form, like {{{name}: "%Y"}}')
            if whole and column.type == "date" and self.partitions.every == "hour":
                raise ValueError(f"partitions.column: {name} is a date, and does not say the hour")
            if not whole and column.type not in ("integer", "string", "period"):
                raise ValueError(
                    f"partitions.column: only an integer, a string or a period has a form, and {name} is a {column.type}"
                )
        own = set(self.partitions.columns)
        if self.incremental.kind == "upsert" and not (own and own <= set(self.contract.key)):
            raise ValueError(
                "incremental.kind: upsert in partitions needs partitions.column, and that in contract.key: a record that moves to "
                "another partition would stay in both. Or use full, which replaces a partition whole"
            )
        if self.incremental.aliases:
            raise ValueError("incremental.aliases follows a record through the whole table, and partitions are kept apart")
        return self

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
        if self.deletes_mode == "snapshot_diff" and "since" in places_of(self.source.model_dump(mode="json")):
            raise ValueError(
                "{since} asks for what changed, and a full fetch takes back all that it leaves out: "
                "declare incremental: {kind: upsert} and contract.key"
            )
        return self

    @property
    def deletes_mode(self) -> Literal["none", "snapshot_diff", "tombstone"]:
        return self.deletes.mode or ("snapshot_diff" if self.incremental.kind == "full" else "none")

    def due(self, now: datetime) -> list[str | None]:
        """What a run asks for by itself: the partitions that are due, newest first; None is the whole of a feed that has none."""
        return [None] if self.partitions is None else [*self.partitions.due(self.schedule, now)]

    def partition(self, key: str | None, now: datetime) -> str | None:
        """The key, if there is such a partition by now, or None for a feed without; DeclarationError where it is neither."""
        if self.partitions is None:
            if key is None:
                return None
            raise DeclarationError(
                f"it has no partitions, so there is no '{key[:40]}'", where=self.id, mend="leave --partition out"
            )
        if key is None:
            raise DeclarationError(
                "it is fetched by partition", where=self.id, mend="name one; madang feed check shows the first and the last"
            )
        return self.partitions.checked(self.schedule, key, now, where=self.id)

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
