"""SDMX REST 3.0: the addresses of 3.0 and its filters by component (protocols.md 3.7).

Everything that 2.1 does alike is `sdmx21.py`; what answers mean is `sdmx_answers.py`.
"""

from __future__ import annotations

from typing import ClassVar, Literal
from urllib.parse import quote

from pydantic import Field, model_validator

from assets.protocols.answers.sdmx_answers import SdmxSource
from assets.protocols.kernel import SourceBase, Step
from assets.protocols.queries import fill, query_of
from assets.protocols.sdmx21 import SdmxProtocol, query_text


class Sdmx30Source(SdmxSource):
    """`source:` of one dataflow of an SDMX 3.0 service."""

    protocol: Literal["sdmx30"]
    agency: str = Field(pattern=r"^[^/\s?#]+$", description="Agency of the dataflow: IMF.STA.")
    flow: str = Field(pattern=r"^[^/\s?#]+$", description="Dataflow: CPI.")
    version: str = Field("*", pattern=r"^[^/\s?#]+$", description="Version; * is the latest stable one, + the latest.")
    key: str = Field("*", pattern=r"^[^/\s?#]+$", description="Codes by dimension: USA+KOR.CPI.*.*.M; * means all.")
    filters: dict[str, str] = Field(
        default_factory=dict,
        description="c[component] → operator and value: {TIME_PERIOD: 'ge:2026-01+le:2026-09'}; may hold places, like params.",
    )
    accept: str = Field("application/vnd.sdmx.data+csv;version=2.0.0", description="Accept header of the data; empty: none.")

    @model_validator(mode="after")
    def _filters_have_operators(self) -> Sdmx30Source:
        for name, value in self.filters.items():
            if not all(part.partition(":")[0] in OPERATORS and ":" in part for part in value.replace("+", ",").split(",")):
                raise ValueError(f"filters.{name}: '{value}' needs an operator before each value, like ge:2026-01")
        return self

    @property
    def address(self) -> str:
        return f"{self.base}/data/dataflow/{self.agency}/{self.flow}"


OPERATORS = ("eq", "ne", "lt", "le", "gt", "ge", "co", "nc", "sw", "ew")


class Sdmx30(SdmxProtocol[Sdmx30Source]):
    """Whole answers of one dataflow, by key and filters."""

    name: ClassVar[str] = "sdmx30"
    Source: ClassVar[type[SourceBase]] = Sdmx30Source
    structure_xml: ClassVar[str] = "application/vnd.sdmx.structure+xml;version=3.0.0"

    def data_url(self, source: Sdmx30Source, step: Step) -> str:
        parts = [source.agency, source.flow, source.version, fill(source.key, step)]
        path = "/".join(quote(part, safe=".+:*@,~") for part in parts)
        filters = {f"c[{name}]": fill(value, step) for name, value in source.filters.items()}
        query = query_of(source, step) | {name: value for name, value in filters.items() if value}
        return f"{source.base}/data/dataflow/{path}{query_text(query)}"

    def accepted(self, source: Sdmx30Source) -> str:
        return source.accept


PROTOCOL = Sdmx30()
