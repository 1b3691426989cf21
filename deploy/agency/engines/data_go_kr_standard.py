"""The standard data sets of data.go.kr: the gateway's engine, with plain lists and every column a filter (protocols.md 2.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from deploy.agency.engine import Row
from deploy.agency.engines.data_go_kr import Gateway, GatewayOptions
from quality.contract import Strict


class StandardOptions(GatewayOptions):
    """As the gateway's."""

    items: Literal["item", "list"] = "list"


class Standard(Gateway):
    """Pages of the rows that equal the query in each column that it names."""

    name: ClassVar[str] = "data_go_kr_standard"
    Options: ClassVar[type[Strict]] = StandardOptions

    def chosen(self, rows: Sequence[Row], params: dict[str, str], options: GatewayOptions) -> Sequence[Row]:
        columns = {name for row in rows for name in row}
        asked = {name: value for name, value in params.items() if name in columns}
        return [row for row in rows if all(str(row.get(name)) == value for name, value in asked.items())]


ENGINE = Standard()
