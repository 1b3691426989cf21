"""`python -m deploy.agency`: serve the stand-in agency until Ctrl-C."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from assets.errors import MadangError
from deploy.agency.app import Agency, AgencyConfig
from deploy.agency.engine import DEMO_KEY
from deploy.agency.running import server


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0 after Ctrl-C, 2 where an argument is wrong."""
    parser = argparse.ArgumentParser(prog="python -m deploy.agency", description="Serve the stand-in agency on loopback.")
    parser.add_argument("--port", type=int, default=8055, help="0 takes a free one")
    parser.add_argument("--data", type=Path, help="folder of real files to serve in place of the bundled rows")
    parser.add_argument("--fault", action="append", default=[], metavar="ROUTE=FAULT", help="us.faa.airports=status_500:2")
    parser.add_argument(
        "--tape", type=Path, action="append", default=[], metavar="PATH", help="WARC file, or folder of them, to replay"
    )
    parser.add_argument(
        "--tape-ignore", action="append", default=[], metavar="NAME", help="parameter that a tape is not compared by"
    )
    parser.add_argument("--only-tape", action="store_true", help="answer for no host that is not on a tape")
    parser.add_argument("--today", type=date.fromisoformat, help="the agency's date, YYYY-MM-DD")
    parser.add_argument("--service-key", default=DEMO_KEY, help="the one key that the data.go.kr gateway knows")
    given = parser.parse_args(argv)
    chosen: dict[str, tuple[str, ...]] = {}
    for one in given.fault:
        route, _, fault = one.partition("=")
        chosen[route] = (*chosen.get(route, ()), fault)
    if given.data is not None and not given.data.is_dir():
        sys.stderr.write(f"--data: {given.data} is no folder\n")
        return 2
    if (given.only_tape or given.tape_ignore) and not given.tape:
        sys.stderr.write("--only-tape and --tape-ignore go with --tape\n")
        return 2
    config = AgencyConfig(
        given.data,
        given.today,
        chosen,
        given.service_key,
        routes=() if given.only_tape else None,
        tapes=tuple(given.tape),
        tape_ignore=tuple(given.tape_ignore),
    )
    try:
        running, bound = server(config, given.port)
    except (ValueError, OSError, MadangError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    port = bound.getsockname()[1]
    sys.stdout.write(
        f"The stand-in agency answers on http://127.0.0.1:{port}\n  export MADANG_CONNECT_TO=http://127.0.0.1:{port}\n"
    )
    if given.service_key == DEMO_KEY:
        sys.stdout.write(f"  export DATA_GO_KR_KEY='{DEMO_KEY}'\n")
    agency: Agency = running.config.app.state.agency  # type: ignore[union-attr]
    for line in agency.tape.lines() if agency.tape is not None else ():
        sys.stdout.write(f"  tape: {line}\n")
    sys.stdout.flush()
    try:
        running.run(sockets=[bound])
    except KeyboardInterrupt:
        pass
    finally:
        bound.close()
    if agency.not_on_tape:
        sys.stdout.write(f"Requests that were not on the tape: {agency.not_on_tape}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
