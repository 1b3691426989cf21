"""Running a list of expectations over Parquet files, inside DuckDB, and saying what came of it without showing values.

What to expect is `suite.py`; how Great Expectations reaches DuckDB is `engine.py` and `metrics.py`; what is made of a
verdict (quarantine, blocking) belongs to the caller.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from quality.contract import ExpectationSpec
from quality.duck import DEFAULT_THREADS
from quality.suite import UNPARSED, blocks, is_row_level, sends_to_quarantine
from quality.suite import names as names_of
from quality.verdict import CheckResult, ExpectationVerdict

if TYPE_CHECKING:
    from quality.engine import MadangDuckDBExecutionEngine

SHAPE: frozenset[str] = frozenset(
    {
        "expect_table_column_count_to_be_between",
        "expect_table_column_count_to_equal",
        "expect_table_columns_to_match_ordered_list",
        "expect_table_columns_to_match_set",
    }
)
"""Expectations about the list of columns: they see the declared columns, not the provenance that Madang adds."""

SHOWN_ALWAYS: frozenset[str] = SHAPE | {
    "expect_column_proportion_of_non_null_values_to_be_between",
    "expect_column_proportion_of_unique_values_to_be_between",
    "expect_column_to_exist",
    "expect_column_type_to_be",
    "expect_column_unique_value_count_to_be_between",
    "expect_column_values_to_be_in_type_list",
    "expect_column_values_to_be_of_type",
    "expect_table_row_count_to_be_between",
    "expect_table_row_count_to_equal",
}
"""Expectations whose observed value is a count, a share, a name or a type, never somebody's value."""

HIDDEN = "hidden: the column is not cleared"

_FIRST_LOOK = {"result_format": "BASIC", "partial_unexpected_count": 0, "include_unexpected_rows": False}
_KEPT: tuple[str, ...] = (
    "element_count",
    "unexpected_count",
    "unexpected_percent",
    "missing_count",
    "missing_percent",
    "unexpected_percent_total",
    "unexpected_percent_nonmissing",
)
_UNPARSED_SQL = (
    """nullif(array_to_string([coalesce(f."column", 'record') for f in _failures if f.rule IN ('type', 'record')], ', '), '')"""
)


def validate(
    specs: Sequence[ExpectationSpec],
    parquet: Path | Sequence[Path],
    *,
    row_column: str = "_source_row",
    rows_wanted: bool = True,
    max_failing_rows: int | None = None,
    cleared: Collection[str] = (),
    declared: Sequence[str] | None = None,
    threads: int = DEFAULT_THREADS,
    scratch: Path | None = None,
    label: str = "rows",
) -> ExpectationVerdict:
    """Judge the rows of `parquet` (one table, one or more files) by `specs`.

    rows_wanted: name the failing rows of failed row-level critical specs without `mostly`, by `row_column`.
    max_failing_rows: the most rows named for one spec; where it cuts, the name is in `verdict.truncated`.
    cleared: columns whose values may be shown. declared: the columns that shape expectations see (default: all whose name
    does not begin with `_`). label: the name of the data in Great Expectations' documents.
    threads, scratch: of DuckDB, and the folder below which it spills (None: the system's temporary one).

    An expectation that raises is a failed check whose note says why. Errors: OSError for a file that cannot be read.
    """
    files = [parquet] if isinstance(parquet, Path) else list(parquet)
    present = pq.read_schema(files[0]).names  # OSError here, before Great Expectations is imported
    check_names = names_of(specs)
    if not specs:
        return ExpectationVerdict(checks=())

    started = time.perf_counter()
    unparsed = _UNPARSED_SQL if "_failures" in present else "CAST(NULL AS VARCHAR)"
    shown = [name for name in (declared if declared is not None else present) if name in present]
    shown = shown if declared is not None else [name for name in shown if not name.startswith("_")]
    from quality.engine import MadangDuckDBExecutionEngine

    with ExitStack() as stack:
        limits: dict[str, Any] = {"threads": threads, "scratch": scratch}
        whole = stack.enter_context(MadangDuckDBExecutionEngine(files, columns=f"*, {unparsed} AS {UNPARSED}", **limits))
        outline = whole
        if any(spec.type in SHAPE for spec in specs):
            quoted = ", ".join('"' + name.replace('"', '""') + '"' for name in shown)
            outline = stack.enter_context(MadangDuckDBExecutionEngine(files, columns=quoted or "NULL", **limits))
        run = _Run(specs, check_names, whole, outline, label, frozenset(cleared))
        results = run.look()
        failing: dict[str, list[int]] = {}
        truncated: list[str] = []
        for index, result in enumerate(results):
            if rows_wanted and sends_to_quarantine(specs[index]) and not result.success and not _raised(result):
                rows, cut = run.rows(index, row_column, max_failing_rows)
                if rows is not None:
                    failing[check_names[index]] = rows
                truncated += [check_names[index]] if cut else []
        statistics = run.statistics(results, time.perf_counter() - started)
        return ExpectationVerdict(
            checks=tuple(run.check(index, result, check_names[index] in failing) for index, result in enumerate(results)),
            failing_rows=failing,
            truncated=tuple(truncated),
            statistics=statistics,
            document=run.document(results, statistics),
        )


class _Run:
    """One validation: the validators over the whole rows and over the declared columns."""

    def __init__(
        self,
        specs: Sequence[ExpectationSpec],
        check_names: Sequence[str],
        whole: MadangDuckDBExecutionEngine,
        outline: MadangDuckDBExecutionEngine,
        label: str,
        cleared: frozenset[str],
    ) -> None:
        from quality import metrics  # noqa: F401  registers DuckDB's own metrics

        self.specs, self.names, self.label, self.cleared = specs, check_names, label, cleared
        self.columns = tuple(whole.column_types)
        self.whole, self.whole_engine = _validator(whole, label), whole
        self.outline = self.whole if outline is whole else _validator(outline, label)

    def look(self) -> list[Any]:
        """One result a spec. What raised is looked at again alone: metrics are computed together, and one bad spec fails all."""
        results: dict[int, Any] = {}
        for shape in (False, True):
            indexes = [i for i, spec in enumerate(self.specs) if (spec.type in SHAPE) == shape]
            results |= dict(zip(indexes, self._evaluate(indexes, shape), strict=True))
            suspects = [i for i in indexes if _raised(results[i])]
            if len(indexes) > 1:
                results |= {i: self._evaluate([i], shape)[0] for i in suspects}
        return [results[i] for i in range(len(self.specs))]

    def _evaluate(self, indexes: Sequence[int], shape: bool) -> list[Any]:
        from great_expectations.core import ExpectationValidationResult

        validator = self.outline if shape else self.whole
        good: list[Any] = []
        made: dict[int, Any] = {}
        for index in indexes:
            configuration = self._configuration(index)
            try:
                configuration.to_domain_obj()
            except Exception as error:  # noqa: BLE001  any defect of a written expectation is that check's failure
                made[index] = ExpectationValidationResult(
                    success=False,
                    expectation_config=configuration,
                    result={},
                    exception_info={"raised_exception": True, "exception_message": f"{type(error).__name__}: {error}"},
                )
            else:
                good.append(configuration)
        if good:
            configurations = validator.process_expectations_for_validation(good, None)
            answers = validator.graph_validate(configurations, runtime_configuration={"result_format": dict(_FIRST_LOOK)})
            # Great Expectations puts what raised first; each configuration carries its check's name
            made |= {self.names.index(answer.expectation_config.meta["check"]): answer for answer in answers}
        return [made[index] for index in indexes]

    def _configuration(self, index: int) -> Any:
        from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
        from great_expectations.expectations.metadata_types import FailureSeverity

        spec = self.specs[index]
        meta = {"check": self.names[index]}
        return ExpectationConfiguration(
            type=spec.type, kwargs=dict(spec.kwargs), severity=FailureSeverity(spec.severity), meta=meta
        )

    def rows(self, index: int, row_column: str, limit: int | None) -> tuple[list[int] | None, bool]:
        """Source rows that break spec `index`, ascending (None: they cannot be named), and whether the list was cut."""
        from great_expectations.validator.metric_configuration import MetricConfiguration

        most = 2**31 - 1 if limit is None else limit
        wanted = {
            "result_format": "COMPLETE",
            "unexpected_index_column_names": [row_column],
            "partial_unexpected_count": most + 1 if limit is not None else most,
            "exclude_unexpected_values": True,
            "include_unexpected_rows": False,
        }
        configuration = self.whole.process_expectations_for_validation([self._configuration(index)], None)[0]
        expectation = configuration.to_domain_obj()
        dependencies = expectation.get_validation_dependencies(self.whole_engine, {"result_format": wanted})
        # several columns ask for the query only, but have the list all the same, on the same terms
        terms = dependencies.get_metric_configuration(f"{expectation.map_metric}.unexpected_index_query")
        name = f"{expectation.map_metric}.unexpected_index_list"
        metric = MetricConfiguration(name, terms.metric_domain_kwargs, terms.metric_value_kwargs)
        resolved, _aborted = self.whole.metrics_calculator.resolve_validation_graph_and_handle_aborted_metrics_info(
            graph=self.whole.metrics_calculator.build_metric_dependency_graph([metric])
        )
        if metric.id not in resolved:
            return None, False
        found = resolved[metric.id]
        rows = sorted({int(row) for row in found[0][row_column]}) if found else []
        return rows[:most], len(rows) > most

    def check(self, index: int, result: Any, rows_named: bool) -> CheckResult:
        """What can be set aside does not block; a critical failure whose rows cannot be named does."""
        spec = self.specs[index]
        raised = _raised(result)
        body: dict[str, Any] = result.result or {}
        observed = body.get("observed_value")
        note = f"raised: {_without_values(raised, self._known(spec))}" if raised else ""
        if observed is not None and not self._may_show(spec):
            observed, note = None, note or HIDDEN
        return CheckResult(
            name=self.names[index],
            passed=bool(result.success) and not raised,
            severity=spec.severity,
            blocking=blocks(spec) or (spec.severity == "critical" and not result.success and not rows_named),
            column=spec.kwargs.get("column"),
            observed=_plain(observed),
            expected=_plain({k: v for k, v in spec.kwargs.items() if k not in ("column", "column_A", "column_B", "column_list")}),
            unexpected_count=None if raised or not is_row_level(spec) else int(body.get("unexpected_count") or 0),
            element_count=None if raised or not is_row_level(spec) else int(body.get("element_count") or 0),
            note=note,
        )

    def _known(self, spec: ExpectationSpec) -> set[str]:
        return {*self.columns, *_columns_of(spec)}

    def _may_show(self, spec: ExpectationSpec) -> bool:
        columns = _columns_of(spec)
        return spec.type in SHOWN_ALWAYS or (bool(columns) and all(column in self.cleared for column in columns))

    def statistics(self, results: Sequence[Any], seconds: float) -> dict[str, Any]:
        import duckdb
        import great_expectations as gx
        import sqlalchemy as sa

        rows = self.whole_engine.execute_query(sa.text("SELECT count(*) FROM rows")).scalar()
        good = sum(bool(result.success) for result in results)
        return {
            "rows": int(rows),
            "evaluated": len(results),
            "successful": good,
            "seconds": round(seconds, 3),
            "engine": f"Great Expectations {gx.__version__} on DuckDB {duckdb.__version__}",
        }

    def document(self, results: Sequence[Any], statistics: dict[str, Any]) -> dict[str, Any]:
        """Great Expectations' own suite result as JSON, with every value of a column that is not cleared removed."""
        for index, result in enumerate(results):
            spec, body = self.specs[index], result.result or {}
            kept = {key: body[key] for key in _KEPT if key in body}
            if "observed_value" in body and self._may_show(spec):
                kept["observed_value"] = body["observed_value"]
            raised = _raised(result)
            if raised:
                message = _without_values(raised, self._known(spec))
                result.exception_info = {"raised_exception": True, "exception_message": message, "exception_traceback": ""}
            result.result = kept
            result.expectation_config.kwargs.pop("batch_id", None)
        from great_expectations.core import ExpectationSuiteValidationResult

        total = max(1, statistics["evaluated"])
        whole: Any = ExpectationSuiteValidationResult(
            results=list(results),
            success=statistics["successful"] == statistics["evaluated"],
            suite_name=self.label,
            statistics={
                "evaluated_expectations": statistics["evaluated"],
                "successful_expectations": statistics["successful"],
                "unsuccessful_expectations": statistics["evaluated"] - statistics["successful"],
                "success_percent": 100.0 * statistics["successful"] / total,
            },
            meta={"active_batch_definition": {"data_asset_name": self.label}, "validation_engine": statistics["engine"]},
        )
        document: dict[str, Any] = whole.to_json_dict()
        return document


def _validator(engine: MadangDuckDBExecutionEngine, label: str) -> Any:
    from great_expectations.core.batch import Batch, LegacyBatchDefinition
    from great_expectations.core.id_dict import IDDict
    from great_expectations.execution_engine.sqlalchemy_batch_data import SqlAlchemyBatchData
    from great_expectations.validator.validator import Validator

    from quality.engine import RELATION

    batch_data: Any = SqlAlchemyBatchData  # its overloads leave out the combination that its own data sources use
    data = batch_data(execution_engine=engine, table_name=RELATION, source_table_name=RELATION)
    batch = Batch(data=data, batch_definition=LegacyBatchDefinition("madang", "parquet", label, IDDict()))
    validator = Validator(execution_engine=engine, batches=[batch])
    validator.metrics_calculator.show_progress_bars = False
    return validator


def _columns_of(spec: ExpectationSpec) -> list[str]:
    columns = [str(spec.kwargs[k]) for k in ("column", "column_A", "column_B") if k in spec.kwargs]
    return columns + [str(name) for name in spec.kwargs.get("column_list") or ()]


def _raised(result: Any) -> str:
    """Why an expectation raised, as Great Expectations keeps it (flat, or one entry a metric); empty when it did not."""
    info: dict[str, Any] = result.exception_info or {}
    for entry in (info, *(value for value in info.values() if isinstance(value, dict))):
        if entry.get("raised_exception"):
            return str(entry.get("exception_message") or "no reason given")
    return ""


def _without_values(message: str, columns: Collection[str]) -> str:
    """The first line of a reason, with quoted text masked unless it is a column's name: engines quote the value they choke on."""

    def mask(match: re.Match[str]) -> str:
        return match.group(0) if match.group(0)[1:-1] in columns else f"{match.group(1)}…{match.group(1)}"

    lines = [line.strip() for line in message.strip().splitlines() if line.strip()]
    if lines and lines[0].startswith("Traceback"):
        lines = lines[-1:]
    first = re.sub(r"^\(_duckdb\.\w+\) ", "", lines[0] if lines else message)
    return re.sub(r"""(["'`]).*?\1""", mask, first)[:300]


def _plain(value: Any) -> Any:
    """As JSON knows it: numpy scalars, dates, sets and decimals made plain."""
    from great_expectations.util import convert_to_json_serializable

    return value if value is None or isinstance(value, (bool, int, float, str)) else convert_to_json_serializable(value)
