"""What a run of the tests says about itself: the last line, the one command, and CI's refusal to leave anything out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.requirements import REQUIREMENTS, ROOT, command, shared_folder, summary

SAMPLE = """
import pytest

def test_server(postgres): ...
def test_bucket(s3_server): ...
def test_bucket_again(s3_server): ...
@pytest.mark.needs("sshd")
def test_drop(): ...
@pytest.mark.needs("seven_zip")
def test_archive(): ...
def test_page(chromium): ...
def test_files(shared_data): ...
@pytest.mark.needs("torch")
def test_tensor(): ...
@pytest.mark.skip(reason="of no use on Tuesdays")
def test_other(): ...
def test_nothing(): ...
"""
BARE = """
import pytest, tests.conftest, tests.requirements as r
for q in r.REQUIREMENTS.values():
    object.__setattr__(q, "present", lambda: False)
from tests.conftest import *
"""


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder of tests on a machine that has nothing."""
    (tmp_path / "conftest.py").write_text(BARE)
    (tmp_path / "test_sample.py").write_text(SAMPLE)
    return tmp_path


def run(folder: Path, *flags: str, ci: str, only: str = "") -> tuple[int, list[str]]:
    env = {**os.environ, "CI": ci, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={folder}", "-c", os.devnull, *flags]
    done = subprocess.run(
        [*words, f"{folder}/test_sample.py{only}"], env=env, cwd=folder, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout.strip().splitlines()


@pytest.mark.parametrize("flags", [(), ("-n", "2", "--dist", "loadgroup")], ids=["one process", "xdist"])
def test_what_is_missing_is_left_out_and_named_last(bare: Path, flags: tuple[str, ...]) -> None:
    code, lines = run(bare, *flags, ci="")
    assert code == 0, lines
    at = next(i for i, line in enumerate(lines) if line.startswith("Could not run"))
    assert lines[at] == (
        "Could not run 8 tests: no PostgreSQL server, no S3 server, no SSH server, no 7-Zip, no Chromium, no PyTorch, "
        "no folder of the agencies' real files."
    )
    assert lines[at + 1] == f"One command allows them: {command(REQUIREMENTS.values())}"
    assert "MADANG_SHARED_DATA" in lines[at + 2]
    assert lines[at + 3 :] == ["Left out 1 test: of no use on Tuesdays"]
    assert "1 passed, 9 skipped" in lines[at - 1]


def test_in_ci_what_is_missing_fails(bare: Path) -> None:
    code, lines = run(bare, ci="true")
    assert code == 1
    said = "\n".join(lines)
    assert "1 passed, 1 skipped, 8 errors" in said
    assert "this machine has no S3 server; " in said
    assert "apt-get install -y --no-install-recommends postgresql" in said


def test_where_nothing_is_left_out_that_is_said(bare: Path) -> None:
    code, lines = run(bare, ci="", only="::test_nothing")
    assert (code, lines[-1]) == (0, "Every test could run on this machine.")


def test_where_nothing_ran_nothing_is_said(bare: Path) -> None:
    for flags in (("-k", "no_such_test"), ("--collect-only",)):
        _, lines = run(bare, *flags, ci="")
        assert not any("Every test" in line or "Could not" in line for line in lines)


def test_one_test_is_one_test() -> None:
    torch = REQUIREMENTS["torch"]
    assert summary([f"Skipped: {torch.reason}"]) == [
        "Could not run 1 test: no PyTorch.",
        "One command allows them: .venv/bin/python -m pip install torch==2.13.0",
    ]
    assert summary([]) == ["Every test could run on this machine."]


def test_the_one_command_installs_everything_at_once() -> None:
    typed = command(REQUIREMENTS.values())
    assert typed.count("apt-get install") == typed.count("pip install") == typed.count(" && ") == 1
    listed = (ROOT / "tests" / "debian-packages.txt").read_text(encoding="utf-8").split()
    assert set(listed) <= set(typed.split())


def test_the_shared_folder_is_named_or_beside_the_checkout(tmp_path: Path) -> None:
    assert shared_folder({"MADANG_SHARED_DATA": str(tmp_path)}) == tmp_path
    assert shared_folder({}) == ROOT.parent / "shared" / "data"
