"""The quick way through a declaration reads what the careful one reads, or leaves the decision to it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from assets.errors import DeclarationError
from assets.yaml_document import MAX_DEPTH, _plain, _tree
from assets.yaml_plain import plain_data
from tests.requirements import ROOT

SHIPPED = sorted([*ROOT.glob("assets/feeds/*/feed.yaml"), *ROOT.glob("assets/training_sets/*/set.yaml")])

SCALARS = [
    *(
        "a",
        "서울",
        "yes",
        "No",
        "true",
        "True",
        "null",
        "~",
        "",
        "x y",
        "a: b",
        "a#b",
        "a #b",
        "http://x/?q=1",
        "-",
        "- a",
        "?",
        "!",
    ),
    *(
        "0",
        "-1",
        "007",
        "0x1F",
        "0o17",
        "1_000",
        "12e3",
        "1.50",
        "-0.0",
        ".5",
        "5.",
        "1:30",
        ".inf",
        ".nan",
        "2024-01-31",
        "<<",
        "=",
    ),
    *(
        "'it''s'",
        "'007'",
        '"a\\nb"',
        '"\\u00e9\\x41"',
        '"a\\/b"',
        "'a: b'",
        '"',
        "'",
        "a'b",
        "*a",
        "&a b",
        "!!str 5",
        "%a",
        "@a",
        "`a",
    ),
    *(
        "|\n    one\n    two",
        ">-\n    one\n    two\n\n    three",
        "a\n    b",
        "[a, 1, 'b']",
        "{x: 1, y: [a]}",
        "{x:1}",
        "{'x':1}",
        "[]",
    ),
    *(
        "{}",
        "[a, ]",
        "{a, b}",
        "[a b: c]",
        "a\u2028b",
        "a\x85b",
        "\ufeff",
        "\t",
        "a\tb",
        "é",
        "𐍈",
        "9" * 30,
        "1" * 18,
        "0.1234567890123",
    ),
]
KEYS = ["a", "b", "이름", "'c d'", '"e"', "5", "true", "null", "2024-01-31", "? x", "[a]", "a b", "<<", "~", "*a"]
LINES = st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(SCALARS)), min_size=1, max_size=5)


def careful(text: str) -> object:
    return _plain(_tree(text, "f"), "f", 1)


def agree(text: str) -> bool:
    """Whether the quick way decided; where it did, the careful way says the same, types included."""
    quick = plain_data(text, MAX_DEPTH)
    if quick is None:
        return False
    slow = careful(text)
    assert quick == slow
    assert repr(quick) == repr(slow)
    return True


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.parent.name)
def test_shipped_declarations_go_the_quick_way_and_read_the_same(path: Path) -> None:
    assert agree(path.read_text(encoding="utf-8"))


@settings(max_examples=400, deadline=None)
@given(LINES)
@example([("a", "1_000")])
@example([("a", "{x:1}")])
def test_what_is_read_quickly_is_read_alike(lines: list[tuple[str, str]]) -> None:
    agree("".join(f"{key}: {value}\n" for key, value in lines))


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=" \n-:,[]{}#'\"ab1.|>?!&*%\té", max_size=40))
@example(" \t")
def test_odd_texts_are_read_alike(text: str) -> None:
    agree("a: 1\n" + text)


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\na: 2\n",
        "a: &x 1\n",
        "a: &x 1\nb: *x\n",
        "a: !!str 1\n",
        "1: a\n",
        "a: .inf\n",
        "--- \na: 1\n",
        "a: 1\n---\nb: 2\n",
        "- a\n",
        "",
        "a: [\n",
        "a: 2024-01-31\n",
        "a: 010\n",
    ],
)
def test_doubts_are_left_to_the_careful_way(text: str) -> None:
    assert plain_data(text, MAX_DEPTH) is None


def test_nesting_is_left_to_the_careful_way() -> None:
    text = "a: " + "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)
    assert plain_data(text, MAX_DEPTH) is None
    with pytest.raises(DeclarationError, match="nests deeper"):
        careful(text)
