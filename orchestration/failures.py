"""The class of a failure, decided once; op retry, run retry and automation all obey it (design.md decision 13).

A missing key retried is still missing: only what time alone can mend may be tried again without a person.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any

from assets.errors import Blocked, FetchFailed, IntegrityError, MadangError, StoreConflict


class FailureClass(Enum):
    """Who or what mends a failure."""

    TIME = "time"  # the next scheduled tick may find it mended
    QUOTA = "quota"  # the budget comes back at its reset, not before
    OWNER = "owner"  # a key, a parameter, a moved address: a person must act
    DATA = "data"  # a gate refused: a person decides
    DEFECT = "defect"  # Madang itself is wrong


@dataclass(frozen=True)
class Policy:
    retry_in_run: bool
    """Whether Dagster may run the op again within the run; only a lost race for a pointer is worth it."""
    advice: str


POLICIES: dict[FailureClass, Policy] = {
    # The kernel has already retried with backoff inside the fetch, so Dagster does not retry on top of it.
    FailureClass.TIME: Policy(False, "The next scheduled run tries again."),
    FailureClass.QUOTA: Policy(False, "The daily quota is used up; the next run after its reset goes on."),
    FailureClass.OWNER: Policy(False, "The feed's owner must act before another run can succeed."),
    FailureClass.DATA: Policy(
        False, "The last good table or release stays. Look at the failed checks, then mend or widen the declaration."
    ),
    FailureClass.DEFECT: Policy(False, "This is a defect of Madang; the run's log has the traceback."),
}

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
    if isinstance(error, StoreConflict):
        return FailureClass.TIME
    if isinstance(error, (Blocked, IntegrityError)):
        return FailureClass.DATA
    if isinstance(error, MadangError):
        return FailureClass.OWNER
    return FailureClass.DEFECT


@contextmanager
def guard(context: Any = None) -> Iterator[None]:
    """Turn a MadangError into a Dagster Failure that carries its sentence, its class and the right retry decision.

    Anything else is a defect and keeps its traceback.
    """
    import dagster as dg

    try:
        yield
    except MadangError as error:
        kind = failure_class(error)
        policy = POLICIES[kind]
        metadata: dict[str, Any] = {
            "what": error.what,
            "where": error.where,
            "mend": error.mend,
            "failure class": kind.value,
            "advice": policy.advice,
        }
        if isinstance(error, FetchFailed):
            metadata["outcome"] = error.outcome
        if isinstance(error, Blocked):
            metadata["failed checks"] = ", ".join(error.checks)
        raise dg.Failure(description=str(error), metadata=metadata, allow_retries=policy.retry_in_run) from error
