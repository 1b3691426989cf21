"""`madang` called in this process: the installed entry point, its exit code, and what it printed."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import pytest

from orchestration.cli import main, output


@dataclass(frozen=True)
class Called:
    code: int
    out: str
    err: str


def call(*arguments: str, capsys: pytest.CaptureFixture[str]) -> Called:
    """Run `madang ARGUMENTS…`; the environment is the test's."""
    capsys.readouterr()
    output._state["json"] = False  # a process runs one command; here it is many
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["madang", *arguments])
        patch.setenv("COLUMNS", "240")
        code: int | str | None = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
    printed = capsys.readouterr()
    return Called(code if isinstance(code, int) else 0 if code is None else 1, printed.out, printed.err)
