"""`madang set …`: list, build, show, pull, verify, diff, trace, yank. Show, pull and verify need the base install alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from assets.errors import IntegrityError, MadangError
from orchestration.cli.output import Json, out, print_json, print_table, progress, say
from orchestration.settings import Settings

app = typer.Typer(help="Training sets: declared products, released write-once.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A set's name, like seoul_bike_demand")]
From = Annotated[str | None, typer.Option("--from", help="Store or web address that holds sets/; default: MADANG_STORE.")]


@app.command("list")
def list_(json_: Json = False) -> None:
    """Every declared set and its latest release."""
    from assets.store import Store
    from assets.training_sets.load import load_sets

    settings = Settings.from_environment()
    store = Store(settings.store_url)
    lines = []
    loaded = load_sets(settings.set_folders)
    for spec in loaded.sets.values():
        index = store.read_pointer(f"sets/{spec.name}/index.json").value or {}
        latest = index.get("latest")
        entry: dict[str, Any] = next((v for v in index.get("versions", []) if v["version"] == latest), {})
        rows = entry.get("rows")
        total = sum(rows.values()) if isinstance(rows, dict) else rows
        lines.append(
            {
                "name": spec.name,
                "title": spec.title_en,
                "task": spec.task,
                "latest": latest,
                "rows": total,
                "split": spec.split.kind,
            }
        )
    if json_:
        print_json(lines)
    else:
        print_table(["set", "title", "task", "latest", "rows", "split"], ([*line.values()] for line in lines))
    for problem in loaded.problems:
        say("left out:", "yellow", problem)
    raise typer.Exit(1 if loaded.problems else 0)


@app.command()
def check(
    paths: Annotated[list[Path] | None, typer.Argument(metavar="[PATH]…", help="set.yaml files or folders; default: all.")] = None,
    json_: Json = False,
) -> None:
    """Check declarations of sets: fields, columns, and that every source is a declared feed."""
    from assets.feeds.load import load_feeds
    from assets.training_sets import load

    settings = Settings.from_environment()
    feeds = load_feeds(settings.feed_folders).feeds
    folders = paths or [file.parent for folder in settings.set_folders for file in sorted(folder.glob(f"*/{load.FILE}"))]
    problems = [problem for path in folders for problem in load.check(path, feeds)]
    if json_:
        print_json({"checked": len(folders), "problems": [problem.as_json() for problem in problems]})
    else:
        for problem in problems:
            say("✗", "red", problem)
        out.print(f"{len(folders)} checked, {len(problems)} problems", highlight=False)
    raise typer.Exit(1 if problems else 0)


@app.command()
def build(
    name: Name,
    allow_synthetic: Annotated[
        bool, typer.Option("--allow-synthetic", help="Let a synthetic release go to a store that is not local.")
    ] = False,
    json_: Json = False,
) -> None:
    """Build the set from the rows at hand and release it if anything changed. Runs in Dagster."""
    from orchestration.building import build_sets

    settings = Settings.from_environment()
    if allow_synthetic:
        os.environ["MADANG_ALLOW_SYNTHETIC"] = "1"
    with progress() as bar:
        bar.add_task(f"Building {name}", total=None)
        (line,) = build_sets(settings, [name])
    if json_:
        print_json(line)
    else:
        _print_sets([line])


def _print_sets(lines: list[dict[str, Any]]) -> None:
    print_table(["set", "version", "rows", "path"], ([x["name"], x["version"], _rows(x["rows"]), x["path"]] for x in lines))


def _rows(rows: dict[str, int]) -> str:
    return ", ".join(f"{split} {count:,}" for split, count in rows.items())


@app.command()
def show(
    name: Name,
    version: Annotated[str | None, typer.Argument(help="Default: the latest.")] = None,
    from_: From = None,
    json_: Json = False,
) -> None:
    """A release: origin, versions, rows per split, files and licence."""
    from assets.training_sets import read

    found = read.show(from_ or Settings.from_environment().store_url, name, version)
    if json_:
        print_json(found)
        return
    entry, manifest = found["entry"], found["manifest"]
    out.print(f"[bold]{name} {entry['version']}[/]  origin: {manifest.get('origin', '')}  released {entry.get('released_at', '')}")
    print_table(
        ["file", "split", "rows", "bytes", "sha256"],
        ([f["path"], f.get("split") or "", f.get("rows"), f["bytes"], f["sha256"][:12]] for f in manifest["files"]),
    )
    print_table(
        ["version", "status", "rows"],
        ([v["version"], v.get("status", ""), str(v.get("rows", ""))] for v in found["index"]["versions"]),
    )


@app.command()
def pull(
    name: Name,
    dest: Annotated[Path, typer.Argument(metavar="DEST", help="Folder that gets the release.")],
    version: Annotated[str | None, typer.Option(help="Default: the latest.")] = None,
    from_: From = None,
    json_: Json = False,
) -> None:
    """Copy a release here, every byte verified; run again to resume."""
    from assets.training_sets import read

    with progress() as bar:
        task = bar.add_task(f"Pulling {name}", total=None)
        manifest = read.pull(
            from_ or Settings.from_environment().store_url,
            name,
            dest,
            version,
            lambda path, done, total: bar.update(task, description=path, completed=done, total=total),
        )
    result = {"name": name, "version": manifest["version"], "files": len(manifest["files"]), "path": str(dest.absolute())}
    if json_:
        print_json(result)
    else:
        out.print(
            f"[green]✓[/] {name} {manifest['version']}: {len(manifest['files'])} files, all verified, in {dest}", highlight=False
        )


@app.command()
def verify(
    target: Annotated[str, typer.Argument(metavar="DIR_OR_URL", help="A pulled folder, or …/sets/NAME/vVERSION")],
    json_: Json = False,
) -> None:
    """Read every byte of a release and compare it with the manifest."""
    from assets.training_sets import read

    found = read.verify(target)
    if json_:
        print_json(found.as_json())
        raise typer.Exit(0 if found.ok else 1)
    if not found.ok:
        raise IntegrityError("; ".join(found.problems[:3]), where=target, mend="pull it again, and do not train on this copy")
    out.print(
        f"[green]✓[/] {found.name} {found.version}: {found.files} files, {found.bytes:,} bytes, all as released",
        highlight=False,
    )


@app.command()
def diff(name: Name, version_1: str, version_2: str, json_: Json = False) -> None:
    """What changed between two releases: records added, edited, withdrawn, per split."""
    from assets.store import Store
    from assets.training_sets.inspect import diff as compare

    settings = Settings.from_environment()
    found = compare(Store(settings.store_url), name, version_1, version_2, settings.home / "cache")
    if json_:
        print_json(found)
    else:
        print_table(["what", "count"], ([key, value] for key, value in found.items() if isinstance(value, int)))


@app.command()
def trace(name: Name, record_id: Annotated[str, typer.Argument(metavar="RECORD_ID")], json_: Json = False) -> None:
    """Where a record came from: fetch, row in it, archive file, agency and licence."""
    from assets.store import Store
    from assets.training_sets.inspect import trace as follow

    settings = Settings.from_environment()
    found = follow(Store(settings.store_url), name, record_id, settings.home / "cache")
    if json_:
        print_json(found)
    else:
        print_table(["what", "value"], found.items())


@app.command("yank")
def yank_(
    name: Name, version: str, reason: Annotated[str, typer.Option(help="Why, for everybody who uses it.")], json_: Json = False
) -> None:
    """Mark a release as one not to be used. Nothing is deleted; `latest` goes back to the newest good one."""
    from datetime import UTC, datetime

    from assets.store import Store
    from assets.training_sets.publish import yank

    if not reason.strip():
        raise MadangError("a yank needs its reason", where="--reason", mend='--reason "labels of May were swapped"')
    index = yank(Store(Settings.from_environment().store_url), name, version, reason, datetime.now(UTC))
    if json_:
        print_json(index)
    else:
        out.print(f"[green]✓[/] {name} {version} is yanked; latest is now {index.get('latest') or 'none'}", highlight=False)
