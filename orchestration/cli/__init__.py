"""The `madang` command line: it parses, calls, and renders. What a command does lives elsewhere.

Heavy libraries are imported inside commands, so that `--help` answers at once and the base install can pull and verify.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import typer

from assets.errors import MadangError, disk_full
from orchestration.cli import agency, demo, doctor, feed, sets, up
from orchestration.cli.output import example, is_json, print_json, say

app = typer.Typer(
    name="madang",
    help="Public-agency data into training sets that people can trust.\n\n"
    "Start with `madang demo`, then `madang up` and open http://127.0.0.1:3000.\n\n"
    "An agency that has data to give works with `madang feed`, an ML team that trains on it with `madang set`.",
    epilog=example("madang demo", "madang feed check --help"),
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(feed.app, name="feed")
app.add_typer(sets.app, name="set")
app.add_typer(agency.app, name="agency")
app.command("demo", epilog=example("madang demo", "madang demo --home /tmp/tour"))(demo.demo)
app.command("up", epilog=example("madang up", "madang up --port 4000"))(up.up)
app.command("doctor", epilog=example("madang doctor", "madang doctor --reindex"))(doctor.doctor)


def main() -> None:
    """Entry point: errors that a person can mend are one sentence and exit code 1; a defect keeps its traceback."""
    try:
        app()
    except MadangError as error:
        fail(error)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in PLATFORM_PACKAGES:
            raise
        fail(
            MadangError(
                "this command needs the platform", where=error.name, mend="make setup, or pip install -e '.[platform,loaders]'"
            )
        )
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        # Dagster writes its own state outside of every step, and fails there in its own way.
        if full := disk_full(error):
            fail(full)
        raise


def fail(error: MadangError) -> NoReturn:
    """Say the error's sentence, as JSON where that was asked for, and end with exit code 1."""
    if is_json():
        print_json(error.as_json())
    else:
        say("✗", "red", error)
    sys.exit(1)


PLATFORM_PACKAGES = frozenset(
    {
        "aiohttp",
        "charset_normalizer",
        "croniter",
        "dagster",
        "dagster_dbt",
        "datasets",
        "dateutil",
        "dbt",
        "duckdb",
        "duckdb_engine",
        "fastwarc",
        "great_expectations",
        "ijson",
        "jsonschema",
        "lxml",
        "markdown_it",
        "mlcroissant",
        "numpy",
        "pandas",
        "polars",
        "psycopg2",
        "python_calamine",
        "sqlalchemy",
        "starlette",
        "uvicorn",
    }
)
