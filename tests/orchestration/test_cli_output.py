"""How results are printed: whole and on one line for a pipe, folded into the window on a terminal, and always as they are."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from orchestration.cli.output import print_facts, print_table, shown
from tests.main_job.homes import environment

Capture = pytest.CaptureFixture[str]
LONG = "/".join(f"folder-{n}" for n in range(60))
PROGRAM = (
    "import sys; from orchestration.cli.output import print_table; print_table(['set', 'rows', 'path'], [['a', 1200, sys.argv[1]]])"
)


def test_in_a_pipe_every_row_is_one_line_and_every_value_whole(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    print_table(["set", "path", "rows"], [[LONG, LONG, 1200], ["b", "마당", None]])
    printed = capsys.readouterr().out.splitlines()
    assert [line.split() for line in printed] == [["set", "path", "rows"], [LONG, LONG, "1,200"], ["b", "마당"]]
    print_facts([("address", LONG), ("none", None), ("empty", "")])
    assert capsys.readouterr().out.split() == ["address", LONG]


def test_colours_asked_for_make_no_terminal_of_a_pipe() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, LONG],
        env=environment(FORCE_COLOR="1", COLUMNS="40"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(done.stdout.splitlines()) == 2 and LONG in done.stdout


def test_a_terminal_folds_and_loses_nothing() -> None:
    ours, theirs = pty.openpty()
    try:
        env = environment(COLUMNS="60", TERM="xterm")
        subprocess.run([sys.executable, "-c", PROGRAM, LONG], env=env, stdout=theirs, stdin=theirs, check=True)
    finally:
        os.close(theirs)
    printed = b""
    try:
        while chunk := os.read(ours, 65536):
            printed += chunk
    except OSError:
        pass  # the other end is closed: all is read
    finally:
        os.close(ours)
    lines = printed.decode().replace("\r", "").splitlines()
    assert len(lines) > 5 and all(len(line) <= 60 for line in lines[1:])
    assert "".join(line[-54:].strip() for line in lines[1:]).replace(" ", "").endswith(LONG)


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        ("[red]not a style[/]", "[red]not a style[/]"),
        ("two\nlines\tand \x1b[31mred", "two\\nlines\\tand \\x1b[31mred"),
        ("\u2028\x85\x07", "\\u2028\\x85\\x07"),
        (1234567, "1,234,567"),
        (True, "yes"),
        (False, "no"),
        (None, ""),
    ],
)
def test_a_value_is_printed_as_it_is(value: object, printed: str, capsys: Capture) -> None:
    assert shown(value).plain == printed
    print_table(["name", "value"], [["x", value]])
    assert capsys.readouterr().out.splitlines()[1:] == [f"x     {printed}".rstrip()]


def test_a_path_longer_than_any_window_stays_whole(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / ("long" * 50) / ("longer" * 40)
    print_table(["set", "version", "path"], [["seattle_high", "1.0.0", str(path)]])
    assert str(path) in capsys.readouterr().out
