"""The `madang` command line: it parses, calls, and renders. What a command does lives elsewhere.

Heavy libraries are imported inside commands, so that `--help` answers at once and the base install can pull and verify.
"""

from __future__ import annotations

import json
import os
import sys

import typer

from assets.errors import MadangError
from orchestration.cli import agency, demo, doctor, feed, sets, up
from orchestration.cli.output import console, is_json

app = typer.Typer(
    name="madang",
    help="Public-agency data into training sets that people can trust.\n\n"
    "Start with `madang demo`, then `madang up` and open http://127.0.0.1:3000.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(feed.app, name="feed")
app.add_typer(sets.app, name="set")
app.add_typer(agency.app, name="agency")
app.command("demo")(demo.demo)
app.command("up")(up.up)
app.command("doctor")(doctor.doctor)


def main() -> None:
    """Entry point: errors that a person can mend are one sentence and exit code 1; a defect keeps its traceback."""
    try:
        app()
    except MadangError as error:
        if is_json():
            print(json.dumps(error.as_json(), ensure_ascii=False))
        else:
            console.print(f"[red]✗[/] {error}", highlight=False, soft_wrap=True)
        sys.exit(1)
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] in PLATFORM_PACKAGES:
            message = "this command needs the platform"
            console.print(f"[red]✗[/] {message} — type: make setup   (or: pip install -e '.[platform,loaders]')")
            sys.exit(1)
        raise
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


PLATFORM_PACKAGES = frozenset(
    {"aiohttp", "croniter", "dagster", "dbt", "duckdb", "fastwarc", "great_expectations", "polars", "sqlalchemy", "starlette"}
)
