"""The repository itself: what no committed file may hold, the lock, the direction of imports, the shape of modules."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath

import pytest

from tests.requirements import REQUIREMENTS, ROOT

LONGEST = 450
CODE = {".py", ".sql", ".sh"}
# Written in parts, so that this file holds none of them.
REGISTRIES = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pypi", "python", "org"),
        ("files", "pythonhosted", "org"),
        ("registry", "npmjs", "org"),
        ("registry", "yarnpkg", "com"),
        ("deb", "debian", "org"),
        ("security", "debian", "org"),
        ("archive", "ubuntu", "com"),
        ("docker", "io"),
        ("ghcr", "io"),
        ("quay", "io"),
        ("gcr", "io"),
        ("proxy", "golang", "org"),
        ("static", "crates", "io"),
        ("hub", "getdbt", "com"),
        ("extensions", "duckdb", "org"),
        ("download", "pytorch", "org"),
        ("conda", "anaconda", "org"),
    )
)
MACHINE_PATHS = re.compile(
    r"(?<![\w.~}>)-])/(?:" + "|".join(("ro" + "ot", "wo" + "rk", "ho" + r"me/\w+", "Use" + r"rs/\w+")) + r")(?=[/\s'\"`:,)]|$)"
)
SESSION_WORDS = re.compile(
    "|".join(rf"\b{a}{b}\b" for a, b in (("clau", "de"), ("anthro", "pic"), ("chat", "gpt"), ("open", "ai"), ("co", "pilot"))),
    re.IGNORECASE,
)


@cache
def tracked() -> tuple[Path, ...]:
    """Every file that git knows and that is still there."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return tuple(ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file())


@cache
def texts() -> dict[str, str]:
    """Path in the repository → text, for every file that is UTF-8 text."""
    found = {}
    for path in tracked():
        data = path.read_bytes()
        if b"\0" not in data:
            found[path.relative_to(ROOT).as_posix()] = data.decode("utf-8", errors="replace")
    return found


def lines_with(pattern: re.Pattern[str]) -> Iterator[str]:
    for path, text in texts().items():
        for match in pattern.finditer(text):
            yield f"{path}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]}"


def modules() -> list[str]:
    return [path for path in texts() if path.endswith(".py")]


def test_this_reads_the_repository() -> None:
    assert {"Makefile", "requirements.lock", "assets/store.py", "tests/conftest.py"} <= texts().keys()
    assert len(modules()) > 100


def test_no_registry_is_named() -> None:
    """Whoever installs Madang chooses where packages come from; a host in a file would go round that choice."""
    assert list(lines_with(re.compile("|".join(re.escape(host) for host in REGISTRIES)))) == []


def test_no_path_of_a_machine_is_named() -> None:
    assert list(lines_with(MACHINE_PATHS)) == []


def test_files_speak_of_madang_and_not_of_how_they_were_made() -> None:
    assert list(lines_with(SESSION_WORDS)) == []


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (MACHINE_PATHS, "open('/" + "root/x')", True),
        (MACHINE_PATHS, "see /" + "work/shared", True),
        (MACHINE_PATHS, "cd /" + "home/me/x", True),
        (MACHINE_PATHS, "https://agency.example/" + "work/1", False),
        (MACHINE_PATHS, "net/" + "work/", False),
        (SESSION_WORDS, "Clau" + "de wrote this", True),
        (SESSION_WORDS, "open" + "aire", False),
    ],
)
def test_the_patterns_find_what_they_should(pattern: re.Pattern[str], text: str, found: bool) -> None:
    assert bool(pattern.search(text)) is found


# --- the lock ---


def lock_entries() -> dict[str, str]:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    return {block.split("\n", 1)[0]: block for block in re.split(r"\n(?=[A-Za-z0-9])", text) if not block.startswith("#")}


def test_the_lock_pins_every_package_by_hash() -> None:
    entries = lock_entries()
    assert len(entries) > 150
    for head, block in entries.items():
        assert re.match(r"^[A-Za-z0-9._-]+==[^\s;]+( ;.*)? \\$", head), head
        hashes = re.findall(r"--hash=(\S+)", block)
        assert hashes, head
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", h) for h in hashes), head


def test_the_lock_names_no_address() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert not re.search(r"://|--index|--find-links|--extra-index|\s@\s", text)


def test_the_lock_holds_what_pyproject_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    names = {re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9._-]", r, maxsplit=1)[0]).lower() for r in wanted}
    assert names <= {head.split("==")[0] for head in lock_entries()}


# --- what tests need of the machine ---


def test_the_debian_packages_are_those_that_the_requirements_name() -> None:
    listed = (ROOT / "tests" / "debian-packages.txt").read_text(encoding="utf-8").split()
    assert listed == sorted(package for r in REQUIREMENTS.values() for package in r.packages)


def test_ci_installs_what_the_requirements_name() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "tests/debian-packages.txt" in script
    for requirement in REQUIREMENTS.values():
        assert not requirement.pip or f'"{requirement.pip}"' in script


# --- modules ---


def test_imports_run_one_way() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 kept, 0 broken" in done.stdout


@pytest.mark.parametrize("path", modules())
def test_a_module_opens_with_its_docstring(path: str) -> None:
    text = texts()[path]
    if text.strip() or PurePosixPath(path).name != "__init__.py":
        assert ast.get_docstring(ast.parse(text)), path


def test_no_file_of_code_is_too_long_to_read() -> None:
    """Declarations and lists of codes may be long; code may not."""
    counts = {path: text.count("\n") for path, text in texts().items() if PurePosixPath(path).suffix in CODE}
    assert {path: count for path, count in counts.items() if count > LONGEST} == {}


def test_shell_scripts_stop_at_the_first_failure() -> None:
    scripts = {path: text for path, text in texts().items() if text.startswith(("#!/bin/sh", "#!/usr/bin/env bash", "#!/bin/bash"))}
    assert ".ci/run" in scripts
    for path, text in scripts.items():
        assert re.search(r"^set -e", text, re.MULTILINE), path
