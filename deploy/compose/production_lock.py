"""Print the part of requirements.lock that runs Madang: without what only tests and linters need. Standard library only.

uv writes below each package who asks for it (`# via`); what a wanted package asks for is wanted too.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
EXTRAS = ("platform", "loaders")
BUILD = ("editables", "hatchling")
"""Madang is installed from its checkout: these two do that."""
ENTRY = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(?:\[[^\]]*\])?==.*(?:\n[ \t].*)*", re.MULTILINE)


def normal(requirement: str) -> str:
    """The package's name as the lock writes it."""
    name = re.split(r"[^A-Za-z0-9._-]", requirement.strip(), maxsplit=1)[0]
    return re.sub(r"[-_.]+", "-", name).lower()


def wanted_by(project: dict[str, object]) -> set[str]:
    """The packages that pyproject.toml names for a production install."""
    table = project["project"]
    assert isinstance(table, dict)
    extras = table["optional-dependencies"]
    return {normal(r) for r in (*table["dependencies"], *(r for e in EXTRAS for r in extras[e]), *BUILD)}


def production(lock: str, wanted: set[str]) -> str:
    """The lock's entries for `wanted` and all that these ask for. ValueError where the lock lacks one of them."""
    # One package may have an entry for each Python version.
    entries: dict[str, list[str]] = defaultdict(list)
    asks_for: dict[str, set[str]] = defaultdict(set)
    for match in ENTRY.finditer(lock):
        name, text = normal(match["name"]), match[0]
        entries[name].append(text)
        for asker in re.findall(r"^\s+#\s+(?:via )?([A-Za-z0-9._-]+)(?: \(.*\))?$", text, re.MULTILINE):
            asks_for[normal(asker)].add(name)
    if missing := wanted - entries.keys():
        raise ValueError(f"requirements.lock lacks {', '.join(sorted(missing))}: compile it anew")
    todo, found = list(wanted), set(wanted)
    while todo:
        for name in asks_for[todo.pop()] - found:
            found.add(name)
            todo.append(name)
    return "".join(f"{text}\n" for name in sorted(found) for text in entries[name])


def main() -> int:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    sys.stdout.write(production((ROOT / "requirements.lock").read_text(encoding="utf-8"), wanted_by(project)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
