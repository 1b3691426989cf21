"""How a file is laid out, as a feed declares it: format, container, dialect, record path and the limits of unpacking.

The declared shape only; reading by it is the business of the reader modules beside this one. Every protocol that hands over
files (HTTP, SFTP, S3) takes these fields into its `source:` block, so they mean the same everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from pydantic import Field, model_validator

from quality.contract import Strict

Format = Literal["csv", "tsv", "json", "jsonl", "geojson", "xml", "xls", "xlsx", "parquet"]
Container = Literal["none", "zip", "gzip", "7z"]
FORMATS: Mapping[str, str] = {"txt": "csv"} | {name: name for name in get_args(Format)}
"""The format that the end of a file's name says, after its last point."""


class CsvShape(Strict):
    """The dialect of a CSV or TSV file. Nothing here is guessed: what is not declared has RFC 4180's value."""

    delimiter: str | None = Field(None, min_length=1, max_length=1, description="Default: ',' for csv, tab for tsv.")
    quote: str | None = Field('"', min_length=1, max_length=1, description="Quote character; null where quotes are plain text.")
    skip_rows: int = Field(0, ge=0, le=10_000, description="Lines at the top to drop before anything is looked at.")
    header_row: int = Field(1, ge=0, le=10_000, description="Line of the column names, after skip_rows, from 1; 0: no header.")
    columns: tuple[str, ...] = Field((), description="Column names of a file without header (header_row: 0).")
    comment: str | None = Field(None, min_length=1, max_length=1, description="Lines that start with this are dropped.")

    @model_validator(mode="after")
    def _consistent(self) -> CsvShape:
        if (self.header_row == 0) != bool(self.columns):
            raise ValueError("'columns' names the columns of a file without header: give it together with 'header_row: 0'")
        if self.delimiter is not None and self.delimiter in (self.quote, self.comment, "\n", "\r"):
            raise ValueError("'delimiter' must differ from quote, comment and line end")
        return self


class Unpacking(Strict):
    """What unpacking may cost at most. Measured while inflating, never believed from a header."""

    max_member_bytes: int = Field(8 * 1024**3, gt=0, description="Unpacked size of one member.")
    max_ratio: float = Field(200.0, gt=1, description="Unpacked bytes for each packed byte, above the first megabyte.")
    max_members: int = Field(10_000, gt=0)


class FileShape(Strict):
    """How one file of a feed is laid out. Rows are counted in the order of the file (of the members, by name)."""

    format: Format
    container: Container | None = Field(
        None,
        description="none, zip, gzip or 7z. Default: by the end of the address: gzip for .gz, zip for .zip, 7z for .7z, else none.",
    )
    member: str = Field(
        "*", description="Glob of the members of a ZIP or 7z to read; several are read in the order of their names."
    )
    csv: CsvShape = CsvShape()
    records_path: str | None = Field(
        None,
        description="JSON: dotted path of the list of records (default: the top level). XML: path of the record element (a/b/row).",
    )
    sheet: str | int | None = Field(None, description="Excel: name, or number from 1, of the sheet. Default: the first.")
    skip_rows: int = Field(0, ge=0, le=10_000, description="Excel: rows at the top to drop before anything is looked at.")
    header_row: int = Field(1, ge=1, le=10_000, description="Excel: first row of the column names, after skip_rows, from 1.")
    header_rows: int = Field(1, ge=1, le=10, description="Excel: rows that a merged header spans; the names are joined by a space.")
    unpacking: Unpacking = Unpacking()

    @model_validator(mode="after")
    def _file_consistent(self) -> FileShape:
        if self.format == "xml" and not self.records_path:
            raise ValueError("format: xml needs 'records_path', the path of the record element (response/body/items/item)")
        if self.format not in ("csv", "tsv") and self.csv != CsvShape():
            raise ValueError(f"'csv' belongs to the formats csv and tsv, not to {self.format}")
        if self.format not in ("xls", "xlsx") and (self.sheet, self.skip_rows, self.header_row, self.header_rows) != (
            None,
            0,
            1,
            1,
        ):
            raise ValueError(f"sheet, skip_rows, header_row and header_rows belong to Excel files, not to {self.format}")
        return self

    @property
    def delimiter(self) -> str:
        return self.csv.delimiter or ("\t" if self.format == "tsv" else ",")

    def container_of(self, address: str) -> Container:
        """The declared container, or what the end of the address says."""
        if self.container is not None:
            return self.container
        path = address.split("?", 1)[0].split("#", 1)[0].lower()
        endings: dict[str, Container] = {".gz": "gzip", ".zip": "zip", ".7z": "7z"}
        return next((container for ending, container in endings.items() if path.endswith(ending)), "none")
