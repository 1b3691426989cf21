"""Great Expectations' own Data Docs of one validation, as files that open without a network and tell nobody.

The page is Great Expectations' renderer's; what it would load from elsewhere (styles, scripts, fonts, logo, newsletter) is
taken out and a small style put in. Values are already gone: `validate.py` removes them before the document is made.
"""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from quality.verdict import ExpectationVerdict

PAGE = "validation.html"
INDEX = "index.html"

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 1200px; padding: 0 1.5rem 4rem; }
a { color: #0b57d0; } h1 { font-size: 1.4rem; } h4, h5, h6 { margin: .2rem 0; font-size: 1rem; }
.row { display: block; } .pt-4 > .row { display: flex; gap: 2rem; }
.pt-4 > .row > .col-lg-2 { flex: 0 0 14rem; } .pt-4 > .row > .col-md-10 { flex: 1 1 auto; min-width: 0; }
.sticky { position: sticky; top: 1rem; } nav ul { list-style: none; padding: 0; } nav ol { display: none; }
.alert { border-left: 4px solid #8a8f98; background: rgba(127, 127, 127, .12); padding: .6rem .9rem; margin: 1.4rem 0 .6rem; }
.table { border-collapse: collapse; width: 100%; } .table td, .table th { border-bottom: 1px solid rgba(127, 127, 127, .35);
  padding: .4rem .6rem; text-align: left; vertical-align: top; } .table-responsive { overflow-x: auto; }
.badge { border-radius: .3rem; padding: 0 .35rem; background: rgba(127, 127, 127, .2); font-weight: 600; }
.card-header { padding: .3rem 0; } .mr-auto, .navbar-brand { display: none; }
.fas::before { font-weight: 700; } .fa-check-circle::before, .fa-check::before { content: "\\2713"; color: #18794e; }
.fa-times::before { content: "\\2717"; color: #c62a2f; } .fa-exclamation-triangle::before { content: "!"; color: #ad5700; }
.popover, .d-none-print { display: none; } pre { white-space: pre-wrap; }
@media (max-width: 760px) { .pt-4 > .row { display: block; } .card { display: none; } body { padding: 0 .8rem 3rem; } }
"""

_ELSEWHERE = re.compile(r"https?://[^\s\"'<>)]+")


def write(verdict: ExpectationVerdict, folder: Path, *, title: str, run_name: str, run_time: datetime) -> None:
    """Write `index.html` and `validation.html` under `folder`.

    run_name and run_time (with a zone) are the fetch's or release's own, so the same verdict gives the same bytes.
    Errors: OSError when the folder cannot be written; ValueError when the verdict holds no document.
    """
    if not verdict.document:
        raise ValueError("this verdict holds no document of Great Expectations: nothing was judged")
    folder.mkdir(parents=True, exist_ok=True)
    page = _offline(_rendered(verdict.document, title, run_name, run_time), title)
    (folder / PAGE).write_text(page, "utf-8")
    (folder / INDEX).write_text(_index(verdict, title, run_name, run_time), "utf-8")


def _rendered(document: dict[str, Any], title: str, run_name: str, run_time: datetime) -> str:
    import quality.engine  # noqa: F401  switches analytics off before the imports below

    # isort: split
    import great_expectations
    from great_expectations.core.expectation_validation_result import expectationSuiteValidationResultSchema
    from great_expectations.core.run_identifier import RunIdentifier
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
    from great_expectations.render.view.view import DefaultJinjaPageView

    result: Any = expectationSuiteValidationResultSchema.load(document)
    result.results = [one for one in result.results if _renders(one)]
    result.meta |= {
        # The renderer compares a name that reads as a date with the run's; an id like …Z-3295a00a is one in an impossible zone.
        "run_id": RunIdentifier(run_name=f"run {run_name}", run_time=run_time),
        "batch_kwargs": {"data_asset_name": title},
        "great_expectations_version": great_expectations.__version__,
    }
    renderer: Any = ValidationResultsPageRenderer(run_info_at_end=True)
    view: Any = DefaultJinjaPageView()
    return str(view.render(renderer.render(result), show_how_to_buttons=False))


def _renders(result: Any) -> bool:
    """Whether the expectation can be built at all; one that cannot stands in the index with its reason."""
    try:
        result.expectation_config.to_domain_obj()
    except Exception:  # noqa: BLE001  any defect of a written expectation; the index names it
        return False
    return True


def _offline(page: str, title: str) -> str:
    """The page without anything that it would load or send: scripts, linked styles, images, the newsletter, other sites."""
    page = re.sub(r"<script\b.*?</script>", "", page, flags=re.S | re.I)
    page = re.sub(r"<style\b.*?</style>", "", page, flags=re.S | re.I)
    page = re.sub(r"<(?:link|img|meta http-equiv)\b[^>]*>", "", page, flags=re.I)
    page = re.sub(r"<footer\b.*?</footer>", "", page, flags=re.S | re.I)
    page = re.sub(r'<div class="card mb-3">.*?(?=<div class="card d-md-block)', "", page, flags=re.S)  # buttons that need scripts
    page = re.sub(r"<p[^>]*>\s*<a[^>]*>\s*Show exception traceback\.\.\.\s*</a>\s*</p>", "", page)
    page = re.sub(r"-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "", page)  # random ids of what scripts unfold
    page = re.sub(r'href="\.\./[^"]*"', f'href="{INDEX}"', page)
    page = re.sub(r'\s(?:integrity|crossorigin|onclick|data-toggle)="[^"]*"', "", page)
    page = re.sub(r'\sclass="([^"]*)\b(?:collapse|hidden|d-none)\b', r' class="\1', page)
    page = re.sub(r'href="https?://[^"]*"', 'href="#"', page)
    page = _ELSEWHERE.sub("", page)
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{html.escape(title)}</title>'
    page = re.sub(r"<title>.*?</title>", "", page, flags=re.S | re.I)
    page = re.sub(r"<html[^>]*>", '<html lang="en">', page, count=1, flags=re.I)
    return re.sub(r"<head[^>]*>", lambda _: f"<head>{head}<style>{_STYLE}</style>", page, count=1, flags=re.I)


def _index(verdict: ExpectationVerdict, title: str, run_name: str, run_time: datetime) -> str:
    rows = "\n".join(
        f"<tr><td>{'&#10003;' if c.passed else '&#10007;'}</td><td>{html.escape(c.name)}</td><td>{c.severity}"
        f"{', blocks' if c.blocking else ''}</td><td>{_count(c.unexpected_count, c.element_count)}</td>"
        f"<td>{html.escape(c.note)}</td></tr>"
        for c in verdict.checks
    )
    when = run_time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    passed = sum(c.passed for c in verdict.checks)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body><h1>{html.escape(title)}</h1>"
        f"<p>{passed} of {len(verdict.checks)} expectations met, {verdict.statistics.get('rows', '?')} rows judged, "
        f'run {html.escape(run_name)}, {when}. <a href="{PAGE}">The validation as Great Expectations shows it</a>.</p>'
        f'<div class="table-responsive"><table class="table"><thead><tr><th></th><th>Check</th><th>Severity</th><th>Unexpected</th>'
        f"<th>Note</th></tr></thead><tbody>\n{rows}\n</tbody></table></div></body></html>\n"
    )


def _count(unexpected: int | None, elements: int | None) -> str:
    return "" if unexpected is None else f"{unexpected:,} of {elements or 0:,}"
