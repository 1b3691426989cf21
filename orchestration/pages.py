"""The pages that the file server makes: a listing of a folder, a set's releases, a release's card. Text in, HTML out.

Nothing here reads a store or loads a thing from elsewhere: one style, no script, no font, no picture.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from markdown_it import MarkdownIt

FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --mark: #b25e09; }
body { margin: 0 auto; padding: 1.5rem 2rem 4rem; max-width: 72rem; overflow-wrap: break-word; word-break: keep-all;
  font: 15px/1.55 system-ui, "Noto Sans", "Noto Sans KR", "Noto Sans CJK KR", "Apple SD Gothic Neo", "Malgun Gothic", sans-serif; }
nav { font-size: 13px; margin-bottom: 1.2rem; } nav a { text-decoration: none; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: .4rem 0 1rem; }
h2 { font-size: 1.2rem; margin-top: 2rem; border-bottom: 1px solid var(--line); padding-bottom: .2rem; }
table { border-collapse: collapse; font-size: 13.5px; } div.wide { overflow-x: auto; }
th, td { text-align: left; vertical-align: top; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid var(--line); }
td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
code, pre { font: 13px/1.5 ui-monospace, "Noto Sans Mono", "DejaVu Sans Mono", "Noto Sans Mono CJK KR", monospace; }
pre { background: var(--soft); padding: .8rem 1rem; overflow-x: auto; border-radius: 4px; }
p.origin { border-left: 4px solid var(--mark); background: var(--soft); padding: .5rem .9rem; margin: 0 0 1rem; }
main.card { display: grid; grid-template-columns: minmax(0, 1fr) 19rem; gap: 3rem; } aside h2 { margin-top: 0; }
aside { font-size: 13px; } aside td { padding-right: .4rem; } aside td:first-child { overflow-wrap: anywhere; }
@media (max-width: 60rem) { main.card { display: block; } }
"""


def listing(key: str, names: Sequence[str]) -> str:
    """A folder: the names directly below it; a name with a trailing slash is a folder."""
    here = f"/{quote(key)}/" if key else "/"
    rows = "".join(f'<li><a href="{here}{quote(name)}">{html.escape(name)}</a></li>' for name in names)
    return _page(key, f"<h1>{html.escape(key.rpartition('/')[2]) or 'Reports and training sets'}</h1><ul>{rows}</ul>")


def releases(key: str, index: Mapping[str, Any]) -> str:
    """A training set: its releases from its index, the newest first."""
    head = ["version", "released", "records", "origin", "status", "changes"]
    lines = [
        [
            _link(f"/{quote(key)}/v{entry['version']}/", entry["version"]),
            *(html.escape(str(entry.get(name) or "")) for name in ("released_at",)),
            _number(entry.get("rows")),
            *(html.escape(str(entry.get(name) or "")) for name in ("origin", "status", "changes")),
        ]
        for entry in reversed(index.get("versions", []))
    ]
    title = html.escape(str(index.get("title") or key))
    latest = html.escape(str(index.get("latest")))
    hold = index.get("hold")
    held = f'<p class="origin">No new release until the hold is lifted: {html.escape(str(hold))}</p>' if hold else ""
    return _page(key, f"<h1>{title}</h1>{held}<p>Latest: {latest}</p>{_table(head, lines)}")


def card(key: str, markdown: str, manifest: Mapping[str, Any] | None, names: Iterable[str]) -> str:
    """A release: its README.md as a page, its files with their sizes beside it. `names` serve where there is no manifest."""
    # HTML in a card would be a script's way in, so it is shown as text.
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    body = parser.render(FRONT_MATTER.sub("", markdown))
    body = re.sub(r"\A\s*<p>(Origin:.*?)</p>", r'<p class="origin">\1</p>', body, flags=re.DOTALL)
    body = body.replace("<table>", '<div class="wide"><table>').replace("</table>", "</table></div>")
    if manifest is not None:
        files = [[_link(f"/{quote(key)}/{quote(f['path'])}", f["path"]), _number(f["bytes"])] for f in manifest["files"]]
        files.append([_link(f"/{quote(key)}/manifest.json", "manifest.json"), ""])
    else:
        files = [[_link(f"/{quote(key)}/{quote(name)}", name), ""] for name in names]
    aside = f"<aside><h2>Files</h2>{_table(['path', 'bytes'], files)}</aside>"
    return _page(key, f'<main class="card"><article>{body}</article>{aside}</main>')


def _page(key: str, body: str) -> str:
    parts = key.split("/") if key else []
    steps = [_link("/", "Madang")] + [_link(f"/{quote('/'.join(parts[: i + 1]))}/", part) for i, part in enumerate(parts)]
    title = html.escape(" · ".join(["Madang", *parts]))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<style>{STYLE}</style></head><body><nav>{' / '.join(steps)}</nav>{body}</body></html>\n"
    )


def _link(address: str, text: str) -> str:
    return f'<a href="{html.escape(address)}">{html.escape(text)}</a>'


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are HTML already."""
    top = "".join(f"<th>{name}</th>" for name in head)
    numbers = re.compile(r"[\d,]+")
    lines = (
        "".join(f'<td class="n">{cell}</td>' if numbers.fullmatch(cell) else f"<td>{cell}</td>" for cell in row) for row in rows
    )
    return f'<div class="wide"><table><tr>{top}</tr>{"".join(f"<tr>{line}</tr>" for line in lines)}</table></div>'
