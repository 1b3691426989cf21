"""`madang set …`: list, build, show, pull, verify, diff, trace, yank. Show, pull and verify need the base install alone."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from assets.errors import IntegrityError, MadangError
from orchestration.cli.output import Json, done, example, out, print_facts, print_json, print_table, progress, say, title
from orchestration.settings import Settings

app = typer.Typer(help="Training sets: what ML teams load, released in versions that never change.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A set's name, like seoul_bike_demand")]
From = Annotated[
    str | None,
    typer.Option("--from", help="Web address or store that holds sets/; default: MADANG_STORE."),
]


@app.command("list", epilog=example("madang set list"))
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


@app.command(epilog=example("madang set check", "madang set check sets/seattle_high"))
def check(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PATH", help="set.yaml, its folder, or a folder of sets; default: every set."),
    ] = None,
    json_: Json = False,
) -> None:
    """Check declarations of sets: every field, and that every source is a declared feed. Each problem names its mend."""
    from assets.feeds.load import load_feeds
    from assets.training_sets import load

    settings = Settings.from_environment()
    feeds = load_feeds(settings.feed_folders).feeds
    files = dict.fromkeys(file.absolute() for path in paths or settings.set_folders for file in _declarations(path, load.FILE))
    problems = [problem for file in files for problem in load.check(file, feeds)]
    if not paths:
        # Two sets of one name are each sound alone.
        problems += [problem for problem in load.load_sets(settings.set_folders).problems if problem not in problems]
    if json_:
        print_json({"checked": len(files), "problems": [problem.as_json() for problem in problems]})
    else:
        for problem in problems:
            say("✗", "red", problem)
        out.print(f"{len(files)} checked, {len(problems)} problem{'' if len(problems) == 1 else 's'}", highlight=False)
    raise typer.Exit(1 if problems else 0)


def _declarations(path: Path, name: str) -> list[Path]:
    """The declaration that is meant by a file or its folder, or those of every folder below a folder of sets."""
    if not path.exists():
        raise MadangError(
            "there is no such file or folder", where=str(path), mend=f"give a {name}, its folder, or a folder of sets"
        )
    if not path.is_dir():
        return [path]
    own = path / name
    return [own] if own.exists() else sorted(path.glob(f"*/{name}")) or [own]


@app.command(epilog=example("madang set build seoul_bike_demand"))
def build(
    name: Name,
    allow_synthetic: Annotated[
        bool, typer.Option("--allow-synthetic", help="Let a synthetic release go to a store that is not local.")
    ] = False,
    json_: Json = False,
) -> None:
    """Build the set from the rows at hand and release it if anything changed. Asks no agency.

    Exit code 1 where a gate refused the release; the last good one stays. The run is one of Dagster's, and `madang up` shows it.
    """
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


@app.command(epilog=example("madang set show seoul_bike_demand", "madang set show seoul_bike_demand 1.0.0 --json"))
def show(
    name: Name,
    version: Annotated[str | None, typer.Argument(metavar="[VERSION]", help="As in 1.0.0; default: the latest.")] = None,
    from_: From = None,
    json_: Json = False,
) -> None:
    """A release: where its rows came from, its files with rows and hashes, and every version there is."""
    from assets.training_sets import read

    found = read.show(from_ or Settings.from_environment().store_url, name, version)
    if json_:
        print_json(found)
        return
    entry, manifest = found["entry"], found["manifest"]
    title(f"{name} {entry['version']}  origin: {manifest.get('origin', '')}  released {entry.get('released_at', '')}")
    print_table(
        ["file", "split", "rows", "bytes", "sha256"],
        ([f["path"], f.get("split") or "", f.get("rows"), f["bytes"], f["sha256"][:12]] for f in manifest["files"]),
    )
    print_table(
        ["version", "status", "rows"],
        ([v["version"], v.get("status", ""), str(v.get("rows", ""))] for v in found["index"]["versions"]),
    )


@app.command(
    epilog=example("madang set pull seoul_bike_demand bikes", "madang set pull seoul_bike_demand bikes --from https://data.example")
)
def pull(
    name: Name,
    dest: Annotated[Path, typer.Argument(metavar="DEST", help="Folder that gets the release.")],
    version: Annotated[str | None, typer.Option(help="As in 1.0.0; default: the latest.")] = None,
    from_: From = None,
    json_: Json = False,
) -> None:
    """Copy a release into a folder, every byte verified. Interrupted? Type it again, and it goes on."""
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
        done(f"{name} {manifest['version']}: {len(manifest['files'])} files, all verified, in {dest}")


@app.command(epilog=example("madang set verify bikes"))
def verify(
    target: Annotated[str, typer.Argument(metavar="DIR_OR_URL", help="A pulled folder, or …/sets/NAME/vVERSION")],
    json_: Json = False,
) -> None:
    """Read every byte of a release and compare it with what was released. Exit code 1 where one differs."""
    from assets.training_sets import read

    found = read.verify(target)
    if json_:
        print_json(found.as_json())
        raise typer.Exit(0 if found.ok else 1)
    if not found.ok:
        raise IntegrityError("; ".join(found.problems[:3]), where=target, mend="pull it again, and do not train on this copy")
    done(f"{found.name} {found.version}: {found.files} files, {found.bytes:,} bytes, all as released")


@app.command(epilog=example("madang set diff seoul_bike_demand 1.0.0 1.1.0"))
def diff(
    name: Name,
    version_1: Annotated[str, typer.Argument(metavar="V1", help="The earlier version, as in 1.0.0")],
    version_2: Annotated[str, typer.Argument(metavar="V2", help="The later version, as in 1.1.0")],
    json_: Json = False,
) -> None:
    """How many records were added, edited, withdrawn, or moved to another split; --json has their ids and the columns too."""
    from assets.store import Store
    from assets.training_sets.inspect import diff as compare

    settings = Settings.from_environment()
    found = compare(Store(settings.store_url), name, version_1, version_2, settings.home / "cache")
    if json_:
        print_json(found)
    else:
        print_table(["what", "count"], ([key, value] for key, value in found.items() if isinstance(value, int)))


@app.command(epilog=example("madang set trace seoul_bike_demand RECORD_ID"))
def trace(
    name: Name,
    record_id: Annotated[str, typer.Argument(metavar="RECORD_ID", help="A value of the column _record_id of the latest release")],
    json_: Json = False,
) -> None:
    """Where a record came from: the fetch and the row in it, the archive file, agency and licence."""
    from assets.store import Store
    from assets.training_sets.inspect import trace as follow

    settings = Settings.from_environment()
    found = follow(Store(settings.store_url), name, record_id, settings.home / "cache")
    if json_:
        print_json(found)
    else:
        _print_origin(found)


def _print_origin(found: dict[str, Any]) -> None:
    """A traced record for people: where it stands in the set, and the fetch and row that it came from."""
    record, fetch = found["record"], found["fetch"]
    title(f"{found['dataset_id']} {found['version']}, record {record['_record_id']}")
    print_facts([("split", record["_split"]), ("group", record["_component_id"])])
    out.print()
    title("Where it came from")
    if fetch is None:
        print_facts(
            [("fetch", record["_source_id"]), ("row", record["_source_row"]), ("first seen", _moment(record["_fetched_at"]))]
        )
        say("✗", "red", "provenance/sources.parquet of this release does not know the fetch")
        return
    print_facts(
        [
            ("feed", fetch["feed"]),
            ("title", fetch["title"]),
            ("agency", fetch["agency"]),
            ("origin", fetch["origin"]),
            ("licence", fetch["license"]),
            ("attribution", fetch["attribution_ko"]),
            ("address", fetch["url"]),
            ("fetched at", _moment(fetch["fetched_at"])),
            ("fetch", fetch["source_id"]),
            ("row in it", record["_source_row"]),
            ("first seen", _moment(record["_fetched_at"])),
            ("archive file", fetch["warc_key"]),
            ("its answer's SHA-256", fetch["payload_sha256"]),
        ]
    )


def _moment(value: datetime | None) -> str | None:
    """A moment as people read it, in UTC."""
    return None if value is None else f"{value:%Y-%m-%d %H:%M:%SZ}"


@app.command("yank", epilog=example("madang set yank seoul_bike_demand 1.1.0 --reason 'labels of May were swapped'"))
def yank_(
    name: Name,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="As in 1.1.0")],
    reason: Annotated[str, typer.Option(help="Why, for everybody who uses it.")],
    json_: Json = False,
) -> None:
    """Mark a release as one not to be used. Nothing is deleted; `latest` goes back to the newest good one.

    Who names the version in full can still pull it, and reads the reason in `madang set show`.
    """
    from assets.store import Store
    from assets.training_sets.publish import yank

    if not reason.strip():
        raise MadangError("a yank needs its reason", where="--reason", mend='--reason "labels of May were swapped"')
    index = yank(Store(Settings.from_environment().store_url), name, version, reason, datetime.now(UTC))
    if json_:
        print_json(index)
    else:
        done(f"{name} {version} is yanked; latest is now {index.get('latest') or 'none'}")
