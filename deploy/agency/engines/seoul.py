"""Seoul Open Data Plaza over the rows of a JSON list: key, indexes and options in the path, its codes (protocols.md 2.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from deploy.agency.engine import Asked, Engine, Row, json_reply, rows_of
from deploy.agency.engines.indexed import FAULTS as SHARED_FAULTS
from deploy.agency.engines.indexed import NO_DATA, page_of, result, split_key, xml_page
from deploy.agency.replies import Reply
from quality.contract import Strict

if TYPE_CHECKING:
    from deploy.agency.routes import Route, Source

MESSAGES = {
    "INFO-100": "인증키가 유효하지 않습니다.",
    "INFO-200": NO_DATA,
    "ERROR-300": "필수 값이 누락되어 있습니다.",
    "ERROR-301": "파일타입 값이 누락 혹은 유효하지 않습니다.",
    "ERROR-310": "해당하는 서비스를 찾을 수 없습니다.",
    "ERROR-331": "요청시작위치 값을 확인하십시오.",
    "ERROR-332": "요청종료위치 값을 확인하십시오.",
    "ERROR-334": "요청종료위치 보다 요청시작위치가 더 큽니다.",
    "ERROR-335": "샘플데이터(샘플키:sample) 는 한번에 최대 5건을 넘을 수 없습니다.",
    "ERROR-336": "데이터요청은 한번에 최대 1000건을 넘을 수 없습니다.",
    "ERROR-500": "서버 오류입니다.",
    "ERROR-600": "데이터베이스 연결 오류입니다.",
    "ERROR-601": "SQL 문장 오류 입니다.",
}
SAMPLE, SAMPLE_ROWS, MOST_ROWS = "sample", 5, 1000
TYPES = ("json", "xml", "xmlf", "xls")


class SeoulOptions(Strict):
    """One service of the plaza."""

    service: str
    root: str | None = Field(None, description="What its rows stand under, where that is not the service's name.")
    options: tuple[str, ...] = Field((), description="Fields of the rows that the options must equal, by position.")
    required: int = Field(0, ge=0, description="How many options must be given.")
    lengths: dict[str, int] = Field(default_factory=dict, description="Field → characters that its option must have.")
    renamed: dict[str, str] = Field(default_factory=dict, description="Field → its name while column_renamed is on.")
    prefix: str = Field("/", description="The path before the key.")
    wrapped: bool = Field(False, description="Errors come in errorMessage, as those of the subway's host.")


class Plaza(Engine):
    """Pages of the rows, for those who bring the key; the first five rows for `sample`."""

    name: ClassVar[str] = "seoul"
    Options: ClassVar[type[Strict]] = SeoulOptions
    FAULTS: ClassVar[frozenset[str]] = SHARED_FAULTS | {"column_renamed"}
    PREFIX: ClassVar[bool] = True
    SECRETS: ClassVar[tuple[str, ...]] = (r"(^/(?:api/subway/)?)(.+?)(?=/(?:json|xml|xmlf|xls)/[A-Za-z]\w{2,}/[^/]+/[^/]+)",)

    def answer(self, route: Route, source: Source, asked: Asked) -> Reply:
        options = route.settings
        assert isinstance(options, SeoulOptions)
        key, rest = split_key(asked.path.removeprefix(options.prefix).lstrip("/"), asked.key)
        kind, service, first, last, *values = [*rest.split("/"), "", "", ""]
        as_xml = kind != "json"
        if broken := asked.fault("xml_error_on_json"):
            return self._error(broken.argument or "ERROR-500", options, as_xml=True)
        code = _refused(options, key, asked.key, kind, service, first, last, values) or (asked.fault("no_data") and "INFO-200")
        if code:
            return self._error(code, options, as_xml=as_xml)
        rows = [row for row in rows_of(source) if _fits(row, options, values)]
        page, total = page_of(rows, int(first), int(last), asked)
        if not page:
            return self._error("INFO-200", options, as_xml=as_xml)
        if asked.fault("column_renamed"):
            page = [{options.renamed.get(name, name): value for name, value in row.items()} for row in page]
        root = options.root or options.service
        if as_xml:
            return xml_page(root, total, page, "INFO-000")
        said = {"CODE": "INFO-000", "MESSAGE": "정상 처리되었습니다"}
        return json_reply({root: {"list_total_count": total, "RESULT": said, "row": list(page)}})

    def _error(self, code: str, options: SeoulOptions, *, as_xml: bool) -> Reply:
        message = MESSAGES.get(code, "")
        if options.wrapped and not as_xml:
            said: dict[str, Any] = {"status": 500, "code": code, "message": message, "link": "", "developerMessage": "", "total": 0}
            return json_reply({"errorMessage": said})
        return result(code, message, as_xml=as_xml)


def _refused(
    options: SeoulOptions, key: str, known: str, kind: str, service: str, first: str, last: str, values: list[str]
) -> str | None:
    """The code with which the plaza refuses the path, or None."""
    start, end = (int(text) if text.isascii() and text.isdigit() else -1 for text in (first, last))
    given = {name: value.strip() for name, value in zip(options.options, values, strict=False)}
    checks = {
        "ERROR-301": kind not in TYPES,
        "INFO-100": key not in (known, SAMPLE),
        "ERROR-310": service != options.service,
        "ERROR-331": start < 1,
        "ERROR-332": end < 0,
        "ERROR-334": start > end,
        "ERROR-335": key == SAMPLE and end > SAMPLE_ROWS,
        "ERROR-336": end - start + 1 > MOST_ROWS,
        "ERROR-300": any(not given.get(name) for name in options.options[: options.required])
        or any(given.get(name) and len(given[name]) != length for name, length in options.lengths.items()),
    }
    return next((code for code, wrong in checks.items() if wrong), None)


def _fits(row: Row, options: SeoulOptions, values: list[str]) -> bool:
    """Whether a row has what the options ask for; a space asks for nothing."""
    wanted = zip(options.options, values, strict=False)
    return all(not value.strip() or str(row.get(name)) == value.strip() for name, value in wanted)


ENGINE = Plaza()
