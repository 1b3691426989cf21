"""What OpenDataSoft is asked: the fields of a data set's `source:`, and the GET of a question (protocols.md 3.6).

Which questions follow each other is `ods21.py`, what answers mean `ods_answers.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from pydantic import Field, model_validator

from assets.protocols.answers.json_answers import asked
from assets.protocols.kernel import Auth, Cursor, Request, Step
from assets.protocols.queries import QuerySource, fill, query_of
from assets.tables.readers.spec import CsvShape, FileShape

DATASET = r"[A-Za-z0-9_\-@.]{1,200}"
OWN = {
    "select": "select", "where": "where", "order_by": "order_by", "limit": "size", "offset": "mode", "apikey": "auth",
    "delimiter": "delimiter", "with_bom": "format", "use_labels": "contract", "compressed": "format",
}  # fmt: skip
"""Parameters that are no business of `params`, and the field that is."""


class OdsAuth(Auth):
    """A key of the portal, where it wants one; sent as `Authorization: Apikey …`."""

    kind: str = Field("none", pattern="^(none|header_key|query_key)$", description="none, header_key or query_key.")
    name: str | None = Field(None, description="Default: the header Authorization, or the parameter apikey.")

    @model_validator(mode="after")
    def _named(self) -> OdsAuth:
        default = {"header_key": "Authorization", "query_key": "apikey"}.get(self.kind)
        return self.model_copy(update={"name": default}) if self.name is None and default else self


class Ods21Source(QuerySource):
    """`source:` of one data set."""

    protocol: Literal["ods21"]
    base_url: str = Field(pattern=r"^https?://[^\s?#]+$", description="The portal's domain, before /api/explore/v2.1.")
    dataset: str | None = Field(
        None,
        pattern=f"^{DATASET}$",
        description="Identifier of the data set, from its address. Default: the catalogue, its rows data sets.",
    )
    mode: Literal["export", "records"] = Field(
        "export", description="One stream with all rows, or pages of records; more than 10,000 are exported in any case."
    )
    format: Literal["json", "jsonl", "geojson", "csv", "parquet", "xlsx"] = Field(
        "json", description="Format of the export; records are JSON."
    )
    select: str = Field("", description="Fields to ask for; default: all.")
    where: str = Field("", description="Condition in ODSQL, unencoded; may hold the places that params may hold.")
    order_by: str = Field("", description="Order of the rows; records need one that tells all rows apart, or pages overlap.")
    delimiter: str = Field(";", min_length=1, max_length=1, description="csv: the separator to ask for.")
    size: int = Field(100, gt=0, le=100, description="Rows of a page of records.")
    auth: OdsAuth = OdsAuth()

    @model_validator(mode="after")
    def _consistent(self) -> Ods21Source:
        if taken := sorted(OWN.keys() & self.params.keys()):
            raise ValueError(f"params: '{taken[0]}' is none of them; see '{OWN[taken[0]]}'")
        if "group_by" in self.params:
            raise ValueError("params: rows made by group_by cannot be counted, so nothing would tell that some are missing")
        if self.mode == "records" and not self.order_by:
            raise ValueError("mode: records needs 'order_by', an order that tells all rows apart")
        if self.mode == "records" and self.format != "json":
            raise ValueError(f"mode: records gives JSON; for {self.format} declare mode: export")
        return self

    @property
    def address(self) -> str:
        return f"{self.catalogue}/datasets" + (f"/{self.dataset}" if self.dataset else "")

    @property
    def catalogue(self) -> str:
        """The address that all others begin with."""
        return f"{self.base_url.rstrip('/')}/api/explore/v2.1/catalog"

    @property
    def records(self) -> str:
        """The address of pages of rows."""
        return f"{self.address}/records" if self.dataset else self.address

    @property
    def export(self) -> str:
        """The address of the export."""
        return f"{self.address if self.dataset else self.catalogue}/exports/{self.format}"

    @property
    def shape(self) -> FileShape:
        """How an export is laid out."""
        csv = CsvShape(delimiter=self.delimiter) if self.format == "csv" else CsvShape()
        return FileShape(format=self.format, container="none", csv=csv)


def query_for(source: Ods21Source, params: Mapping[str, Any]) -> dict[str, str]:
    """The question without its page and its form."""
    step = Step(params=params)
    about = {"select": source.select, "where": fill(source.where, step)}
    return {**query_of(source, step), **{name: text for name, text in about.items() if text}}


def sent_to(source: Ods21Source, address: str, query: Mapping[str, str], step: Step, cursor: Cursor) -> Request:
    """A question with the key in its place."""
    sent = asked(address, query, source.auth, step, cursor, safe=":,*")
    headers = dict(sent.headers)
    if source.auth.kind == "header_key" and source.auth.name == "Authorization":
        headers["Authorization"] = f"Apikey {headers['Authorization']}"
    return replace(sent, headers=headers, stamp=step.stamp)
