"""Whole numbers in what agencies answer: counts, totals and sizes, as numbers or as text. Pure; for all protocols."""

from __future__ import annotations

from typing import Any


def whole_number(value: Any) -> int | None:
    """A whole number that is not negative, of at most 15 digits, from an int or text of digits alone; None for anything else."""
    text = str(value) if isinstance(value, int | str) else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def written_number(value: Any) -> int | None:
    """As `whole_number`, and from text for people: with blanks around it, and commas ("1,284")."""
    return whole_number(value.strip().replace(",", "") if isinstance(value, str) else value)
