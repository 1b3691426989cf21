"""Schedules in words: what people write, in both languages, and what is refused rather than half understood."""

from __future__ import annotations

import pytest
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.onboarding.schedule import EXAMPLES, Language, NotUnderstood, cron_of, in_words
from assets.onboarding.words import words as in_language


@pytest.mark.parametrize(
    ("words", "cron"),
    [
        ("매일 03:00", "0 3 * * *"),
        ("매일 오전 3시", "0 3 * * *"),
        ("매일 오후 3시 30분", "30 15 * * *"),
        ("매일 저녁 없이 03:00", None),
        ("매일 12시 반", "30 12 * * *"),
        ("매일 자정", "0 0 * * *"),
        ("03:00", "0 3 * * *"),
        ("매시 20분", "20 * * * *"),
        ("매시간", "0 * * * *"),
        ("매시 정각", "0 * * * *"),
        ("0 25 * * *", None),
        ("0 3 32 13 *", None),
        ("30분마다", "*/30 * * * *"),
        ("6시간마다", "0 */6 * * *"),
        ("6시간마다 15분", "15 */6 * * *"),
        ("평일 06:30", "30 6 * * 1-5"),
        ("주말 9시", "0 9 * * 0,6"),
        ("매주 월요일 09:00", "0 9 * * 1"),
        ("매주 월, 수, 금 9시", "0 9 * * 1,3,5"),
        ("매주 일요일 09:00", "0 9 * * 0"),
        ("매월 5일 03:30", "30 3 5 * *"),
        ("매달 1일 오전 12시 10분", "10 0 1 * *"),
        ("매분기 2일 04:00", "0 4 2 1,4,7,10 *"),
        ("매년 3월 2일 04:00", "0 4 2 3 *"),
        ("every weekday 6:30", "30 6 * * 1-5"),
        ("every day at 3am", "0 3 * * *"),
        ("Daily at 12am", "0 0 * * *"),
        ("daily 11:30 PM", "30 23 * * *"),
        ("hourly", "0 * * * *"),
        ("every hour at :20", "20 * * * *"),
        ("every 15 minutes", "*/15 * * * *"),
        ("every 6 hours", "0 */6 * * *"),
        ("every Monday 9:00", "0 9 * * 1"),
        ("mondays and thursdays at 9am", "0 9 * * 1,4"),
        ("monthly on the 5th 03:30", "30 3 5 * *"),
        ("every quarter on the 2nd at 4:00", "0 4 2 1,4,7,10 *"),
        ("yearly on March 2 04:00", "0 4 2 3 *"),
        ("30 3 5 * *", "30 3 5 * *"),
        ("20,50  * * * *", "20,50 * * * *"),
    ],
)
def test_what_people_write(words: str, cron: str | None) -> None:
    if cron is None:
        with pytest.raises(NotUnderstood):
            cron_of(words)
    else:
        assert cron_of(words) == cron


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("매일", "no_time"),
        ("매월 03:00", "no_day"),
        ("매월 31일 03:00", "not_every_month"),
        ("매월 말일 03:00", "last_day"),
        ("매일 25:00", "no_such_time"),
        ("매일 03:00, 15:00", "two_times"),
        ("every 7 minutes", "uneven_minutes"),
        ("every 5 hours", "uneven_hours"),
        ("매시 75분", "no_such_minute"),
        ("every fortnight 03:00", "fortnight"),
        ("every day 03:00 except holidays", "except holidays"),
        ("", "none"),
        ("sometimes", "none"),
        ("daily 13:00 pm", "half"),
        ("매년 13월 2일 04:00", "no_such_month"),
    ],
)
def test_what_is_not_meant_is_refused_with_the_reason(words: str, said: str) -> None:
    with pytest.raises(NotUnderstood, match=said) as caught:
        cron_of(words)
    for language in ("en", "ko"):
        assert "{" not in in_language("schedule", caught.value.key, language, **caught.value.values)


def test_every_example_is_understood() -> None:
    for text in EXAMPLES.values():
        for example in text.split(" · "):
            assert croniter.is_valid(cron_of(example)), example


CRONS = st.one_of(
    st.builds("{} {} * * *".format, st.integers(0, 59), st.integers(0, 23)),
    st.builds("{} * * * *".format, st.integers(0, 59)),
    st.builds("*/{} * * * *".format, st.sampled_from([5, 10, 15, 20, 30])),
    st.builds("{} */{} * * *".format, st.integers(0, 59), st.sampled_from([2, 3, 4, 6, 8, 12])),
    st.builds("{} {} * * 1-5".format, st.integers(0, 59), st.integers(0, 23)),
    st.builds(
        lambda m, h, d: f"{m} {h} * * {','.join(map(str, sorted(d)))}",
        st.integers(0, 59), st.integers(0, 23), st.sets(st.integers(0, 6), min_size=1, max_size=6),
    ),
    st.builds("{} {} {} * *".format, st.integers(0, 59), st.integers(0, 23), st.integers(1, 28)),
    st.builds("{} {} {} 1,4,7,10 *".format, st.integers(0, 59), st.integers(0, 23), st.integers(1, 28)),
    st.builds("{} {} {} {} *".format, st.integers(0, 59), st.integers(0, 23), st.integers(1, 28), st.integers(1, 12)),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(CRONS, st.sampled_from(["ko", "en"]))
def test_words_lead_back_to_the_expression(cron: str, language: Language) -> None:
    words = in_words(cron, language)
    assert words != cron and cron_of(words) == cron


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_a_valid_expression_or_refused(text: str) -> None:
    try:
        found = cron_of(text)
    except NotUnderstood:
        return
    assert len(found.split()) == 5
