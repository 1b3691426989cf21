"""What the engines of services with the key and two row indexes in the path share: the key, RESULT, and faults of their pages.

No engine of its own: `seoul.py` and `ecos.py` are.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from deploy.agency.engine import Asked, Row, json_reply
from deploy.agency.replies import Reply

FAULTS = frozenset(
    {
        "offset_ignored",
        "page_size_capped",
        "duplicate_rows_between_pages",
        "total_changes_mid_crawl",
        "xml_error_on_json",
        "no_data",
    }
)
NO_DATA = "해당하는 데이터가 없습니다."


def split_key(rest: str, key: str) -> tuple[str, str]:
    """The key in front of a path, and what follows; the key may hold slashes, since the path is decoded."""
    if rest.startswith(f"{key}/"):
        return key, rest[len(key) + 1 :]
    given, _, after = rest.partition("/")
    return given, after


def result(code: str, message: str, *, as_xml: bool) -> Reply:
    """An answer without rows: RESULT is its root. The status is 200."""
    if as_xml:
        body = f"<RESULT><CODE>{code}</CODE><MESSAGE>{escape(message)}</MESSAGE></RESULT>"
        return Reply(200, {"content-type": "text/xml;charset=UTF-8"}, body.encode())
    return json_reply({"RESULT": {"CODE": code, "MESSAGE": message}})


def xml_page(root: str, total: int, rows: Sequence[Row], result_code: str | None) -> Reply:
    """A page as XML, with RESULT where the service sends one."""
    said = f"<RESULT><CODE>{result_code}</CODE><MESSAGE>정상 처리되었습니다</MESSAGE></RESULT>" if result_code else ""
    cells = ("".join(f"<{k}>{escape('' if v is None else str(v))}</{k}>" for k, v in row.items()) for row in rows)
    inner = "".join(f"<row>{of_row}</row>" for of_row in cells)
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<{root}><list_total_count>{total}</list_total_count>{said}{inner}</{root}>'
    return Reply(200, {"content-type": "text/xml;charset=UTF-8"}, body.encode())


def page_of(rows: Sequence[Row], start: int, end: int, asked: Asked) -> tuple[Sequence[Row], int]:
    """Rows `start` to `end` (from 1, both meant) and the total, by the faults that are switched on."""
    total, size = len(rows), end - start + 1
    if asked.fault("duplicate_rows_between_pages") and 1 < start <= total:
        rows = [*rows[: start - 1], rows[start - 2], *rows[start:]]
    if (changing := asked.fault("total_changes_mid_crawl")) and start > 1 and changing.count <= changing.number(2):
        total += start
    if asked.fault("offset_ignored"):
        start = 1
    if capped := asked.fault("page_size_capped"):
        size = min(size, capped.number(10))
    return rows[start - 1 : start - 1 + size], total
