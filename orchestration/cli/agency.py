"""`madang agency …`: the stand-in agency, for demos, tests and feeds under construction."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestration.cli.output import example

app = typer.Typer(
    help="The stand-in agency: answers on this machine in place of the agencies, for demos and tests.", no_args_is_help=True
)


@app.callback()
def _agency() -> None:
    """Keeps `serve` a subcommand while it is the only one."""


@app.command(
    epilog=example(
        "madang agency serve",
        "madang agency serve --port 8056 --fault us.faa.airports=shrinks_90pct",
        "madang agency serve --tape .madang/store/archive/us.faa.airports --fault tape.www.faa.gov=slow:5",
    )
)
def serve(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 takes a free one.")] = 8055,
    data: Annotated[Path | None, typer.Option(help="Serve these real files in place of the bundled rows of the same name.")] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            help="ROUTE=FAULT, as in us.faa.airports=html_200; more may be given. Of a wrong one it says which there are."
        ),
    ] = None,
    tape: Annotated[
        list[Path] | None,
        typer.Option(
            help="Replay what this WARC file, or every .warc and .warc.gz of this folder, recorded; more may be given. "
            "Its hosts answer from the tape alone, each as the route tape.HOST."
        ),
    ] = None,
    tape_ignore: Annotated[
        list[str] | None,
        typer.Option(
            help="Parameter that requests to a tape are not compared by, as one that holds today's date; more may be given."
        ),
    ] = None,
    only_tape: Annotated[bool, typer.Option("--only-tape", help="Answer for no host that is not on a tape.")] = False,
    today: Annotated[str | None, typer.Option(help="The agency's date, YYYY-MM-DD: editions and quotas follow it.")] = None,
) -> None:
    """Serve the shipped feeds' rows, or recorded answers, under the agencies' own addresses until Ctrl-C.

    It prints the variables that lead Madang to it; type them in another terminal. A home that `madang demo` filled needs none of
    this: commands start a stand-in there by themselves.
    """
    from deploy.agency.__main__ import main

    arguments = ["--port", str(port)]
    if data is not None:
        arguments += ["--data", str(data)]
    for item in fault or []:
        arguments += ["--fault", item]
    for path in tape or []:
        arguments += ["--tape", str(path)]
    for name in tape_ignore or []:
        arguments += ["--tape-ignore", name]
    if only_tape:
        arguments.append("--only-tape")
    if today is not None:
        arguments += ["--today", today]
    raise typer.Exit(main(arguments))
