"""The standard data sets of data.go.kr, `api.data.go.kr/openapi/tn_pubr_public_*_api` (protocols.md 2.2).

They answer in the gateway's envelope, so here is only what differs: the address, the switch `type`, and that any column may stand
in `params` as a filter. All else, errors in XML under `type=json` included, is `data_go_kr.py` and `gateway_envelope.py`.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field

from assets.protocols.data_go_kr import DataGoKr, FormatSwitch, GatewaySource
from assets.protocols.kernel import SourceBase

_OWN = {"pageNo", "numOfRows", "serviceKey", "ServiceKey", "type"}


class DataGoKrStandardSource(GatewaySource):
    """`source:` of one standard data set, collected from all agencies of the country."""

    protocol: Literal["data_go_kr_standard"]
    base_url: str = Field("https://api.data.go.kr/openapi", pattern=r"^https?://[^\s?#]+$", description="Where all of them are.")
    operation: str = Field(pattern=r"^[A-Za-z0-9_]+$", description="The data set's name: tn_pubr_public_prkplce_info_api.")
    format: FormatSwitch | None = FormatSwitch(param="type", value="json")


class DataGoKrStandard(DataGoKr):
    """The gateway's pages, at another address."""

    name: ClassVar[str] = "data_go_kr_standard"
    Source: ClassVar[type[SourceBase]] = DataGoKrStandardSource

    def recognise(self, url: str) -> dict[str, Any] | None:
        parts = urlsplit(url)
        base, _, operation = parts.path.rstrip("/").rpartition("/")
        if parts.hostname != "api.data.go.kr" or base != "/openapi" or not operation:
            return None
        params = {name: value for name, value in parse_qsl(parts.query) if name not in _OWN}
        return {"protocol": self.name, "operation": operation} | ({"params": params} if params else {})


PROTOCOL = DataGoKrStandard()
