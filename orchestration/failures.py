"""The class of a failure, decided once; op retry, run retry and automation all obey it (design.md decision 13).

A missing key retried is still missing: only what time alone can mend may be tried again without a person.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

from assets.errors import Blocked, FetchFailed, IntegrityError, MadangError, StoreConflict, StoreUnreachable, disk_full


class FailureClass(Enum):
    """Who or what mends a failure."""

    TIME = "time"  # the next scheduled tick may find it mended
    QUOTA = "quota"  # the budget comes back at its reset, not before
    OWNER = "owner"  # a key, a parameter, a moved address: a person must act
    DATA = "data"  # a gate refused: a person decides
    DEFECT = "defect"  # Madang itself is wrong


ADVICE: dict[FailureClass, str] = {
    FailureClass.TIME: "The next scheduled run tries again.",
    FailureClass.QUOTA: "The daily quota is used up; the next run after its reset goes on.",
    FailureClass.OWNER: "The feed's owner must act before another run can succeed.",
    FailureClass.DATA: "The last good version stays. Look at the failed checks; then mend the declaration, or ask the agency.",
    FailureClass.DEFECT: "This is a defect of Madang; the run's log has the traceback.",
}
"""What to expect, or do, by class. None is retried by Dagster: what time can mend the kernel has tried, with backoff, already."""

OUTCOME_CLASSES: dict[str, FailureClass] = {
    "RateLimited": FailureClass.TIME,
    "Transient": FailureClass.TIME,
    "Malformed": FailureClass.TIME,
    "Pending": FailureClass.TIME,
    "QuotaExhausted": FailureClass.QUOTA,
    "AuthFailed": FailureClass.OWNER,
    "BadRequest": FailureClass.OWNER,
    "Gone": FailureClass.OWNER,
}


def failure_class(error: BaseException) -> FailureClass:
    """The class of an error: a total function, so that nothing is retried by accident."""
    if isinstance(error, FetchFailed):
        return OUTCOME_CLASSES.get(error.outcome, FailureClass.OWNER)
    if isinstance(error, (StoreConflict, StoreUnreachable)):
        return FailureClass.TIME
    if isinstance(error, (Blocked, IntegrityError)):
        return FailureClass.DATA
    if isinstance(error, MadangError):
        return FailureClass.OWNER
    return FailureClass.DEFECT


@contextmanager
def guard(context: Any = None) -> Iterator[None]:
    """Turn a MadangError into a Dagster Failure that carries its sentence and its class, and is not retried.

    Anything else is a defect and keeps its traceback.
    """
    import dagster as dg

    try:
        try:
            yield
        except Exception as error:
            if full := disk_full(error):
                raise full from error
            raise
    except MadangError as error:
        kind = failure_class(error)
        metadata: dict[str, Any] = {
            "what": error.what,
            "where": error.where,
            "mend": error.mend,
            "failure class": kind.value,
            "advice": ADVICE[kind],
        }
        if isinstance(error, FetchFailed):
            metadata["outcome"] = error.outcome
        if isinstance(error, Blocked):
            metadata["failed checks"] = ", ".join(error.checks)
        raise dg.Failure(description=str(error), metadata=metadata, allow_retries=False) from error
