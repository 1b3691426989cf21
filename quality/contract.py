"""The contract of a feed: the columns, types, keys, codes and bounds that it promises.

Here is the declared shape (Pydantic) and what can be told from it alone. Turning it into SQL is `assets/tables/staging.py`,
into expectations `quality/suite.py`.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
"""A column's name in Madang: lower-case words joined by `_`; a leading `_` is kept for provenance columns."""

ColumnType = Literal["string", "integer", "number", "decimal", "boolean", "date", "timestamp", "period", "duration"]

DUCKDB_TYPES: dict[str, str] = {
    "string": "VARCHAR",
    "integer": "BIGINT",
    "number": "DOUBLE",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMP",  # always UTC
    "period": "VARCHAR",  # 2024Q1, 202401: a period is not a point in time
    "duration": "BIGINT",  # 25:10:00: whole seconds
}


class Strict(BaseModel):
    """Base of every declared model: an unknown key is an error, never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Column(Strict):
    """One promised column. `source` is its name (or dotted path) in the agency's rows."""

    name: Name
    source: str | None = Field(None, description="The agency's column header, or dotted path (properties.mag). Default: the name.")
    type: ColumnType = "string"
    format: str | None = Field(None, description="strptime format of a date or timestamp; epoch_ms and epoch_s for numbers.")
    scale: int | None = Field(None, ge=0, le=18, description="Digits after the point of a decimal (38 digits in all).")
    nullable: bool = True
    min: float | str | None = Field(
        None, description="Smallest allowed value; an ISO date for dates and timestamps, seconds for durations."
    )
    max: float | str | None = None
    codes: tuple[str, ...] | None = Field(None, description="The only values allowed, after decoding.")
    pattern: str | None = Field(None, description="RE2 regular expression that the whole value must match.")
    max_length: int | None = Field(None, gt=0)
    null_values: tuple[str, ...] | None = Field(None, description="Null markers of this column, in place of the feed's.")
    sentinels: tuple[float, ...] | None = Field(None, description="Numbers that mean 'no value', in place of the feed's.")
    true_values: tuple[str, ...] = ("true", "True", "TRUE", "1", "Y", "y", "Yes", "yes")
    false_values: tuple[str, ...] = ("false", "False", "FALSE", "0", "N", "n", "No", "no")
    thousands: str | None = Field(None, max_length=1, description="Grouping character to drop from numbers: ','.")
    title_ko: str = ""
    title_en: str = ""
    description: str = ""
    unit: str | None = Field(None, description="UCUM unit: Cel, m/s, [kn_i].")
    cleared: bool = Field(False, description="Values may be shown in Dagster, logs and reports (nothing personal in them).")

    @property
    def source_name(self) -> str:
        return self.source if self.source is not None else self.name

    @property
    def duckdb_type(self) -> str:
        return f"DECIMAL(38, {self.scale or 0})" if self.type == "decimal" else DUCKDB_TYPES[self.type]

    @model_validator(mode="after")
    def _consistent(self) -> Column:
        numeric = self.type in ("integer", "number", "decimal")
        if self.type == "decimal" and self.scale is None:
            raise ValueError("a decimal column needs 'scale' (digits after the point)")
        if self.scale is not None and self.type != "decimal":
            raise ValueError("'scale' belongs to decimal columns only")
        if self.format is not None and self.type not in ("date", "timestamp"):
            raise ValueError("'format' belongs to date and timestamp columns only")
        if (self.thousands or self.sentinels) and not numeric:
            raise ValueError("'thousands' and 'sentinels' belong to numeric columns only")
        if (self.codes or self.pattern or self.max_length) and self.type not in ("string", "period"):
            raise ValueError("'codes', 'pattern' and 'max_length' belong to string and period columns only")
        counted = numeric or self.type == "duration"
        for bound in (self.min, self.max):
            if bound is not None and counted != isinstance(bound, (int, float)):
                raise ValueError(
                    "'min' and 'max' are numbers on numeric columns, seconds on durations and ISO text on dates and timestamps"
                )
        if (self.min is not None or self.max is not None) and self.type in ("string", "boolean", "period"):
            raise ValueError("'min' and 'max' do not apply to string, boolean and period columns")
        return self


class Contract(Strict):
    """What a feed promises of every row, and what happens when it is broken.

    freeze and discard_value are dlt's words: freeze refuses the fetch, discard_value drops the column and says so.
    """

    columns: tuple[Column, ...] = Field(min_length=1)
    key: tuple[Name, ...] = Field((), description="Columns that identify a row; without them rows have no identity.")
    unknown_columns: Literal["freeze", "discard_value"] = "discard_value"
    missing_columns: Literal["freeze", "null"] = "freeze"
    max_quarantine: float = Field(
        0.05,
        ge=0,
        le=1,
        description=(
            "Share of refused rows, of all rows read, above which the table is blocked. Rows that a later version of their "
            "record in the same fetch superseded do not count."
        ),
    )
    min_rows: int = Field(1, ge=0, description="Fewer rows read than this block the table (0 allows an empty feed).")

    @model_validator(mode="after")
    def _consistent(self) -> Contract:
        names = [c.name for c in self.columns]
        for what, values in (("name", names), ("source", [c.source_name for c in self.columns])):
            twice = sorted({v for v in values if values.count(v) > 1})
            if twice:
                raise ValueError(f"two columns have the {what} {', '.join(twice)}")
        unknown = [k for k in self.key if k not in names]
        if unknown:
            raise ValueError(f"key names {', '.join(unknown)}, which is no column")
        nullable = [c.name for c in self.columns if c.name in self.key and c.nullable]
        if nullable:
            raise ValueError(f"key column {', '.join(nullable)} needs 'nullable: false'")
        clash = [n for n in names if n.endswith("_status") and n.removesuffix("_status") in names]
        if clash:
            raise ValueError(f"{', '.join(clash)} is the name that keeps the null markers of {clash[0].removesuffix('_status')}")
        return self

    @cached_property
    def source_names(self) -> tuple[str, ...]:
        """What the agency calls the columns, in their order."""
        return tuple(column.source_name for column in self.columns)

    def column(self, name: str) -> Column:
        return next(c for c in self.columns if c.name == name)


class ExpectationSpec(Strict):
    """One expectation written in a declaration, by Great Expectations' own name and arguments.

    `severity` is Great Expectations' own: critical blocks, warning and info are reported. A row-level expectation that is
    critical and has no `mostly` sends its failing rows to quarantine.
    """

    type: Annotated[str, Field(pattern=r"^expect_[a-z_]+$")]
    kwargs: dict[str, Any] = Field(default_factory=dict)
    severity: Literal["critical", "warning", "info"] = "critical"
