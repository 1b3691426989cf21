"""The class of a failure is decided once, and nothing that a person must mend is ever tried again by itself."""

from __future__ import annotations

import dagster as dg
import pytest

from assets.errors import Blocked, DeclarationError, FetchFailed, IntegrityError, MadangError, StoreConflict, StoreUnreachable
from assets.protocols.kernel import RETRIED, Outcome
from orchestration.failures import ADVICE, OUTCOME_CLASSES, FailureClass, failure_class, guard

SUCCESSES = {"Ok", "Empty", "NotModified"}


def test_every_outcome_that_is_no_success_has_a_class() -> None:
    names = {outcome.__name__ for outcome in Outcome.__args__}
    assert set(OUTCOME_CLASSES) == names - SUCCESSES


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (FetchFailed("no key", outcome="AuthFailed"), FailureClass.OWNER),
        (FetchFailed("moved", outcome="Gone"), FailureClass.OWNER),
        (FetchFailed("used up", outcome="QuotaExhausted"), FailureClass.QUOTA),
        (FetchFailed("down", outcome="Transient"), FailureClass.TIME),
        (FetchFailed("new word", outcome="Unheard"), FailureClass.OWNER),
        (StoreConflict("lost a race"), FailureClass.TIME),
        (StoreUnreachable("no answer"), FailureClass.TIME),
        (Blocked("shrunk", checks=("shrink_guard",)), FailureClass.DATA),
        (IntegrityError("bytes differ"), FailureClass.DATA),
        (DeclarationError("unknown key"), FailureClass.OWNER),
        (ZeroDivisionError(), FailureClass.DEFECT),
    ],
)
def test_class_of(error: Exception, expected: FailureClass) -> None:
    assert failure_class(error) is expected


def test_what_the_kernel_retries_is_mended_by_time() -> None:
    mended_by_time = {name for name, kind in OUTCOME_CLASSES.items() if kind is FailureClass.TIME}
    assert {outcome.__name__ for outcome in RETRIED} <= mended_by_time
    assert set(ADVICE) == set(FailureClass)


def test_guard_turns_a_sentence_into_dagsters_failure_and_leaves_defects_alone() -> None:
    with pytest.raises(dg.Failure) as caught, guard():
        raise Blocked("the table keeps its last good version", checks=("shrink_guard",), where="kr.x.y", mend="ask the agency")
    assert caught.value.description == "kr.x.y: the table keeps its last good version — ask the agency"
    assert caught.value.allow_retries is False
    assert caught.value.metadata["failed checks"].value == "shrink_guard"
    assert caught.value.metadata["failure class"].value == "data"
    with pytest.raises(ZeroDivisionError), guard():
        raise ZeroDivisionError
    assert issubclass(Blocked, MadangError)
