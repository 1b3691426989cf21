"""The small services of compose.yaml that are neither Dagster's nor somebody's image: `python -m deploy.compose.services NAME …`.

`bucket` makes the store's bucket and ends; `files HOST PORT` serves reports and sets; `answers URL` is a health check.
"""

from __future__ import annotations

import sys
import urllib.request
from collections.abc import Sequence

TIMEOUT_S = 10


def main(arguments: Sequence[str]) -> int:
    """The exit code; 2 where the arguments are none of the three."""
    match arguments:
        case ["bucket"]:
            from assets.store import bootstrap
            from orchestration.settings import Settings

            bootstrap(Settings.from_environment().store_url)
            return 0
        case ["files", host, port]:
            import uvicorn

            from assets.store import Store
            from orchestration.files import create_app
            from orchestration.settings import Settings

            settings = Settings.from_environment()
            app = create_app(Store(settings.store_url), settings.home / "cache")
            uvicorn.run(app, host=host, port=int(port), log_level="warning")
            return 0
        case ["answers", url] if url.startswith("http://127.0.0.1:"):
            with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310 (loopback only)
                return 0 if answer.status == 200 else 1
    sys.stderr.write(f"{__doc__}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
