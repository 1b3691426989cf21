"""The model of `set.yaml`: a declared training set over one dbt model, or straight over one feed's table."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from quality.contract import ExpectationSpec, Name, Strict

SET_NAME = r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$"


class Label(Strict):
    column: Name
    kind: Literal["binary", "class", "number"] = "class"
    classes: tuple[str, ...] | None = Field(None, description="Class names in order; the shard holds their index (ClassLabel).")

    @model_validator(mode="after")
    def _consistent(self) -> Label:
        if (self.kind == "number") != (self.classes is None):
            raise ValueError("'classes' are needed for binary and class labels, and only there")
        if self.kind == "binary" and self.classes is not None and len(self.classes) != 2:
            raise ValueError("a binary label has two classes")
        return self


class FeatureColumn(Strict):
    """A column that the set publishes. What is in the model and not listed here is not published."""

    name: Name
    title_ko: str = ""
    title_en: str = ""
    description: str
    unit: str | None = None
    role: Literal["id", "feature", "group", "time", "meta"] = "feature"
    cleared: bool = Field(True, description="Values may be shown in cards, profiles and reports.")
    known_at: Literal["before", "with"] = Field("before", description="Known before the outcome, or at the same moment.")


class LeftOut(Strict):
    """A column of the model that is not published, and why: known only after the outcome, personal, or of no use."""

    name: Name
    reason: Literal["known_after_outcome", "personal", "redundant", "operational"]
    note: str = ""


class SplitByTime(Strict):
    kind: Literal["time"]
    validation_from: str = Field(description="ISO time: the first moment of validation.")
    test_from: str = Field(description="ISO time: the first moment of test.")
    embargo: str = Field("PT0S", description="ISO 8601 duration left out before each cut-off.")


class SplitByHash(Strict):
    """`group` splits whole groups, `hash` single records; both by the stable hash of ai-ready.md 4.1."""

    kind: Literal["group", "hash"]
    train: float = Field(0.8, gt=0, lt=1)
    validation: float = Field(0.1, gt=0, lt=1)
    salt: str = Field(min_length=4, description="Fixed for the life of the set: another salt moves every record.")

    @model_validator(mode="after")
    def _consistent(self) -> SplitByHash:
        if self.train + self.validation >= 1:
            raise ValueError("train + validation must leave something for test")
        return self


class Leakage(Strict):
    max_single_feature: float = Field(
        0.98, gt=0.5, le=1, description="A single feature that predicts the label at least this well (ROC AUC or R²) blocks."
    )
    accepted: dict[str, str] = Field(default_factory=dict, description="Feature → why it may predict that well after all.")


class TrainingSet(Strict):
    """One declared training set."""

    name: str = Field(pattern=SET_NAME)
    title: str
    title_en: str
    summary: str
    summary_ko: str = ""
    model: str | None = Field(None, description="dbt model that the rows come from.")
    feed: str | None = Field(None, description="Feed whose table is used as it is, without SQL.")
    sources: tuple[str, ...] = Field((), description="Feeds that a dbt model draws on; the licence is computed from them.")
    task: Literal["tabular-classification", "tabular-regression", "time-series-forecasting"]
    language: tuple[str, ...] = ("en",)
    tags: tuple[str, ...] = ()
    publisher: str = "Madang"
    record_id: tuple[Name, ...] = Field((), description="Columns that identify a record; else its content and occurrence do.")
    label: Label
    features: tuple[FeatureColumn, ...] = Field(min_length=1)
    left_out: tuple[LeftOut, ...] = ()
    group: tuple[Name, ...] = ()
    time: Name | None = None
    known_at: str = Field(description="When, relative to the outcome, the features are known: the moment a prediction is made.")
    split: Annotated[SplitByTime | SplitByHash, Field(discriminator="kind")]
    licence_mode: Literal["adapted", "collection"] = "adapted"
    intended_uses: tuple[str, ...] = Field(min_length=1)
    unfit_uses: tuple[str, ...] = Field(min_length=1)
    limits: tuple[str, ...] = ()
    leakage: Leakage = Leakage()
    min_rows: int = Field(1, ge=1)
    max_shrink: float = Field(0.2, ge=0, le=1, description="Share of records that may vanish between versions.")
    expectations: tuple[ExpectationSpec, ...] = ()
    owners: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> TrainingSet:
        if (self.model is None) == (self.feed is None):
            raise ValueError("give 'model' (a dbt model) or 'feed' (its table as it is), one of the two")
        if self.model is not None and not self.sources:
            raise ValueError("a set over a dbt model lists its 'sources', the feeds whose licences it inherits")
        names = [f.name for f in self.features]
        every = [*names, self.label.column, *(c.name for c in self.left_out)]
        twice = sorted({n for n in every if every.count(n) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} stands in two of features, label and left_out")
        for field, used in (("group", self.group), ("record_id", self.record_id), ("time", (self.time,) if self.time else ())):
            unknown = [n for n in used if n not in every]
            if unknown:
                raise ValueError(f"{field} names {', '.join(unknown)}, which is neither a feature, the label nor left out")
        if self.split.kind == "time" and self.time is None:
            raise ValueError("split.kind: time needs 'time', the column that orders the records")
        if self.split.kind == "group" and not self.group:
            raise ValueError("split.kind: group needs 'group', the columns that must not cross splits")
        return self

    @property
    def feeds(self) -> tuple[str, ...]:
        """Every feed that the set draws on."""
        return (self.feed,) if self.feed is not None else self.sources

    def as_declared(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude_defaults=True)
