"""`madang agency …`: the stand-in agency, for demos, tests and feeds under construction."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The stand-in agency: serves feeds' sample rows under the agencies' own paths.", no_args_is_help=True)


@app.callback()
def _agency() -> None:
    """Keeps `serve` a subcommand while it is the only one."""


@app.command()
def serve(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 takes a free one.")] = 8055,
    data: Annotated[Path | None, typer.Option(help="Serve these real files in place of the bundled rows of the same name.")] = None,
    fault: Annotated[list[str] | None, typer.Option(help="ROUTE=FAULT, switched on from the start; may be given again.")] = None,
    today: Annotated[str | None, typer.Option(help="The agency's date, YYYY-MM-DD: editions and quotas follow it.")] = None,
) -> None:
    """Serve until Ctrl-C. Point Madang at it with MADANG_CONNECT_TO=http://127.0.0.1:PORT."""
    from deploy.agency.__main__ import main

    arguments = ["--port", str(port)]
    if data is not None:
        arguments += ["--data", str(data)]
    for item in fault or []:
        arguments += ["--fault", item]
    if today is not None:
        arguments += ["--today", today]
    raise typer.Exit(main(arguments))
