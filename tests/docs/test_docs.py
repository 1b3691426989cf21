"""What the documentation says is so: links, commands, settings, folders, declarations and tables are checked against the code."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import typer.main
from pydantic import TypeAdapter
from ruamel.yaml import YAML

from assets.commit import COMMIT_STEPS
from assets.feeds.load import load_feed
from assets.feeds.model import PROTOCOLS
from assets.protocols.answers.gateway_envelope import by_code
from assets.protocols.answers.http_answers import by_status
from assets.training_sets.load import load_set
from orchestration.cli import app
from orchestration.failures import OUTCOME_CLASSES, FailureClass
from orchestration.jobs import NIGHT_JOBS
from orchestration.settings import Settings
from tests.docs import fields
from tests.docs.pages import PAGES, ROOT, Block, blocks, code, links, prose

BLOCKS = [block for page in PAGES for block in blocks(page)]
YAML_BLOCKS = [block for block in BLOCKS if block.language == "yaml"]
LANGUAGES = {"sh", "python", "yaml", "text"}
MOST_NOT_RUN = 4
FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
STORE_KEYS = ("archive", "tables", "quarantine", "models", "reports", "sets")
page_names = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@page_names
def test_every_link_and_picture_leads_somewhere(page: Path) -> None:
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name}: there is no {link}"
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {name} has no heading #{anchor}"


def commands(page: Path) -> list[list[str]]:
    """Every `madang …` of a page, in words: inline and in blocks."""
    lines = [text for text in code(page) if text.startswith("madang ")]
    for block in blocks(page):
        if block.language == "sh":
            whole = block.text.replace("\\\n", " ")
            lines += re.findall(r"^(?:[A-Z_]+=\S+ )*(madang .+)$", whole, re.M)
    return [shlex.split(re.split(r" [|>&] ?", line)[0])[1:] for line in lines]


@page_names
def test_every_command_and_option_exists(page: Path) -> None:
    for words in commands(page):
        command: Any = typer.main.get_command(app)
        rest = list(words)
        while hasattr(command, "commands"):
            assert rest, f"madang {' '.join(words)} is a group, not a command"
            assert rest[0] in command.commands, f"there is no madang {' '.join(words)}"
            command = command.commands[rest.pop(0)]
        options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
        for word in rest:
            if word.startswith("-"):
                assert word.split("=")[0] in options, f"madang {' '.join(words)}: there is no option {word}"


def leaves(command: Any, prefix: str = "madang") -> list[str]:
    if not hasattr(command, "commands"):
        return [prefix]
    return [leaf for name, sub in command.commands.items() for leaf in leaves(sub, f"{prefix} {name}")]


def test_the_readme_lists_every_command() -> None:
    shown = {" ".join(part for part in text.split() if part.islower() and part[0] != "-") for text in code(ROOT / "README.md")}
    missing = set(leaves(typer.main.get_command(app))) - shown
    assert not missing


def test_the_settings_table_is_the_settings() -> None:
    rows = [line for line in prose(ROOT / "README.md").splitlines() if line.startswith(("| `MADANG_", "| `AWS_"))]
    named = {name for row in rows for name in re.findall(r"`((?:MADANG|AWS)_[A-Z_]+)`", row.split("|")[1])}
    assert named == set(Settings.from_environment({}).in_force({})) | {"MADANG_ALLOW_SYNTHETIC"}


@page_names
def test_every_variable_is_read_by_the_code(page: Path) -> None:
    source = "\n".join(path.read_text("utf-8") for folder in ("assets", "orchestration") for path in (ROOT / folder).rglob("*.py"))
    for name in set(re.findall(r"\bMADANG_[A-Z_]+\b", page.read_text("utf-8"))):
        assert re.search(rf"\b{name}\b", source), f"{page.name}: nothing reads {name}"


@page_names
def test_every_folder_and_file_exists(page: Path) -> None:
    for text in code(page):
        first, slash, _ = text.partition("/")
        if slash and first in FOLDERS and not re.search(r"[<*{ ]", text):
            assert (ROOT / text).exists() or first in STORE_KEYS, f"{page.name}: there is no {text}"


@page_names
def test_blocks_are_of_a_known_kind_and_few_are_not_run(page: Path) -> None:
    assert {block.language for block in blocks(page)} <= LANGUAGES
    assert len([b for b in BLOCKS if b.directive == "not run"]) <= MOST_NOT_RUN


@pytest.mark.parametrize("block", YAML_BLOCKS, ids=lambda block: block.name)
def test_every_declaration_is_valid(block: Block, tmp_path: Path) -> None:
    value: Any = YAML(typ="safe").load(block.text)
    if block.directive == "job":
        jobs = {job.name: job for job in NIGHT_JOBS}
        for name in block.argument.split(", "):
            assert dg.validate_run_config(jobs[name], value)
    elif block.argument.endswith("set.yaml"):
        path = tmp_path / Path(block.argument).parent.name / "set.yaml"
        path.parent.mkdir()
        path.write_text(block.text, encoding="utf-8")
        assert load_set(path).name == path.parent.name
    elif block.directive == "file":
        path = tmp_path / Path(block.argument).parent.name / "feed.yaml"
        path.parent.mkdir()
        path.write_text(block.text, encoding="utf-8")
        assert load_feed(path).id == path.parent.name
    else:
        assert list(value) == ["source"], f"{block.name}: neither a job's config, a feed, nor a source"
        protocol = PROTOCOLS[value["source"]["protocol"]]
        TypeAdapter(protocol.Source).validate_python(value["source"])


def test_every_job_of_the_launchpad_is_explained() -> None:
    explained = {name for block in BLOCKS if block.directive == "job" for name in block.argument.split(", ")}
    assert explained == {job.name for job in NIGHT_JOBS}


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_every_protocol_has_its_page_with_the_model_s_fields(name: str) -> None:
    page = fields.PAGES / f"{name}.md"
    text = page.read_text(encoding="utf-8")
    assert f"<!-- fields: {name} -->" in text
    assert fields.with_tables(text) == text, "type: python -m tests.docs.fields"


def rows_after(page: Path, heading: str) -> list[list[str]]:
    """The cells of the first table after a header row that begins so."""
    lines = page.read_text(encoding="utf-8").split(f"| {heading} |", 1)[1].splitlines()[2:]
    table = lines[: next((n for n, line in enumerate(lines) if not line.startswith("|")), len(lines))]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table]


def test_the_gateway_s_codes_mean_what_the_page_says() -> None:
    for codes, meaning in rows_after(fields.PAGES / "data_go_kr.md", "code"):
        for number in re.findall(r"\b\d\d\b", codes):
            if number != "00":
                assert meaning.startswith(type(by_code(number, "")).__name__), number
    assert type(by_code("03", "", "retry")).__name__ == "Transient"


def test_statuses_mean_what_the_page_says() -> None:
    for statuses, meaning in rows_after(fields.PAGES / "http_file.md", "answer"):
        for status in map(int, re.findall(r"\b[45]\d\d\b", statuses)):
            assert meaning.startswith(type(by_status(status, {})).__name__), status
    assert type(by_status(500, {})).__name__ == "Transient" and type(by_status(418, {})).__name__ == "BadRequest"


def test_the_failure_classes_are_those_of_the_code() -> None:
    rows = rows_after(ROOT / "docs" / "data-engineer.md", "failure class")
    assert {name.strip("`") for name, *_ in rows} == {kind.value for kind in FailureClass}
    said = {outcome: name.strip("`") for name, sentences, _ in rows for outcome in OUTCOME_CLASSES if outcome in sentences}
    assert said == {outcome: kind.value for outcome, kind in OUTCOME_CLASSES.items()}


def test_the_commit_steps_are_those_of_the_code() -> None:
    text = prose(ROOT / "docs" / "data-engineer.md").split("## Killed in the middle", 1)[1]
    assert re.findall(r"`([a-z]+\.[a-z]+)`", text)[: len(COMMIT_STEPS)] == list(COMMIT_STEPS)


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200


@page_names
def test_no_page_names_a_machine(page: Path) -> None:
    assert not re.search(r"/(home|work|root|Users)/", page.read_text(encoding="utf-8").replace("/path/to/madang", ""))
