"""The table of protocols in docs/protocols/README.md: `python -m tests.protocols.table` writes it there.

What a protocol can do is `table.yaml`; which outcomes and which faults its tests ask for is read from the tests themselves.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

from ruamel.yaml import YAML

from assets.feeds.load import shipped
from assets.feeds.model import PROTOCOLS
from assets.protocols.kernel import Outcome
from deploy.agency.faults import NAMES

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "protocols" / "README.md"
OUTCOMES = [kind.__name__ for kind in get_args(Outcome)]
HEADINGS = ("protocol", "section", "paging", "increments", "deletes", "outcomes tested", "faults tested", "real server", "feeds")


def facts() -> dict[str, dict[str, Any]]:
    """What `table.yaml` says, by protocol."""
    loaded: dict[str, dict[str, Any]] = YAML(typ="safe").load((HERE / "table.yaml").read_text(encoding="utf-8"))
    return loaded


def tests_of(protocol: str) -> str:
    """The text of a protocol's own tests, and of the lists of faults that they import, without comments: a comment tests nothing.

    Those of http_file stand for the plain file, and go by the fetch tests too.
    """
    named = sorted(HERE.glob(f"test_{protocol}.py")) + sorted(HERE.glob(f"test_{protocol}_*.py"))
    others = [name for name in PROTOCOLS if name != protocol and name.startswith(f"{protocol}_")]
    own = [path for path in named if not any(path.stem.startswith(f"test_{other}") for other in others)]
    if protocol in ("http_file", "usgs_feed"):
        own += [HERE.parent / "deploy" / "test_agency_faults.py", *HERE.glob("test_fetching*.py")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in own)
    shared = sorted(set(re.findall(r"^from tests\.protocols\.(\w+_faults) import", text, re.M)))
    text += "".join((HERE / f"{name}.py").read_text(encoding="utf-8") for name in shared)
    return re.sub(r"^\s*#.*$", "", text, flags=re.M)


def row(protocol: str) -> list[str]:
    """One protocol's line of the table."""
    known, text = facts()[protocol], tests_of(protocol)
    outcomes = [name for name in OUTCOMES if re.search(rf"\b{name}\b", text)]
    # In quotes: 24:00 is a fault, and otherwise only a time.
    faults = [name for name in NAMES if re.search(rf'"{re.escape(name)}(:\d+)?"', text)]
    feeds = sum(1 for feed in shipped().values() if feed.source.protocol == protocol)
    return [
        f"[{protocol}]({protocol}.md)",
        known["section"],
        known["paging"],
        known["increments"],
        known["deletes"],
        f"{len(outcomes)} of {len(OUTCOMES)}",
        str(len(faults)),
        known["server"] or "–",
        str(feeds),
    ]


def table() -> str:
    """The table in Markdown, protocols in the order of `table.yaml`, those that are not built left out."""
    lines = [f"| {' | '.join(HEADINGS)} |", "|" + " --- |" * len(HEADINGS)]
    return "\n".join([*lines, *(f"| {' | '.join(row(name))} |" for name in facts() if name in PROTOCOLS)])


def with_table(text: str) -> str:
    """The page with the table made anew."""
    return re.sub(r"(<!-- table: protocols -->\n)(?:\|.*\n)*", lambda match: f"{match[1]}{table()}\n", text)


def main() -> None:
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
