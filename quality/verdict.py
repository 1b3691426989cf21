"""What a judgement says: one result a check, the failing rows by their source row.

Plain frozen data that goes into JSON and back; computing it is `validate.py`, `leakage.py` or `assets/tables/judging.py`.
No result holds a value of a column that is not cleared.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

Severity = Literal["critical", "warning", "info"]


@dataclass(frozen=True)
class CheckResult:
    """One check. `blocking`: when it fails, what follows must not happen.

    `observed` and `expected` are JSON-able; `unexpected_count` of `element_count` rows broke a row-level check
    (None where rows cannot be counted). `note` is the reason in words: why it raised, or what was hidden.
    """

    name: str
    passed: bool
    severity: Severity = "critical"
    blocking: bool = False
    column: str | None = None
    observed: Any = None
    expected: Any = None
    unexpected_count: int | None = None
    element_count: int | None = None
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> CheckResult:
        """The inverse of `as_json`; an unknown key is a TypeError."""
        return cls(**value)


@dataclass(frozen=True)
class ExpectationVerdict:
    """All checks of one validation, in the order of the specs.

    failing_rows: for each failed row-level critical check without `mostly`, the `_source_row` of each failing row, ascending.
    truncated: names of the checks whose list of failing rows was cut at the caller's bound (`unexpected_count` stays true).
    statistics: rows judged, seconds, engine and versions. document: Great Expectations' own result, values removed.
    """

    checks: tuple[CheckResult, ...]
    failing_rows: dict[str, list[int]] = field(default_factory=dict)
    truncated: tuple[str, ...] = ()
    statistics: dict[str, Any] = field(default_factory=dict)
    document: dict[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def blocked(self) -> tuple[CheckResult, ...]:
        """The checks that failed and block what follows."""
        return tuple(check for check in self.checks if check.blocking and not check.passed)

    def check(self, name: str) -> CheckResult:
        """The check of that name; KeyError when there is none."""
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(name)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ExpectationVerdict:
        """The inverse of `as_json`."""
        known = {name: value[name] for name in (f.name for f in fields(cls)) if name in value}
        known["checks"] = tuple(CheckResult.from_json(check) for check in value["checks"])
        known["truncated"] = tuple(value.get("truncated", ()))
        return cls(**known)
