"""The settings: environment variables only, read once, checked, and never printed with a secret in them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from assets.errors import SettingsError

ROOT = Path(__file__).resolve().parent.parent
"""The checkout that Madang is installed from."""

EXECUTORS = ("in_process", "multiprocess")
"""Those of this version; dask and k8s are in the design and not built yet."""


@dataclass(frozen=True)
class Settings:
    """What is in force. Folders are absolute; `MADANG_*` names are in design.md."""

    home: Path
    store_url: str
    public_url: str | None
    ledger_url: str
    warehouse: str
    executor: str
    feed_folders: tuple[Path, ...]
    set_folders: tuple[Path, ...]
    connect_to: str | None
    contact: str
    reports_url: str

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Raises SettingsError naming the variable and its mend."""
        env = os.environ if environ is None else environ
        home = Path(env.get("MADANG_HOME") or ROOT / ".madang").expanduser().absolute()
        executor = env.get("MADANG_EXECUTOR") or "in_process"
        if executor not in EXECUTORS:
            raise SettingsError(f"'{executor}' is no executor", where="MADANG_EXECUTOR", mend=f"use one of {', '.join(EXECUTORS)}")
        warehouse = env.get("MADANG_WAREHOUSE") or str(home / "warehouse.duckdb")
        if warehouse.startswith("ducklake:"):
            raise SettingsError(
                "a DuckLake warehouse is not supported in this version",
                where="MADANG_WAREHOUSE",
                mend="name a DuckDB file, like /srv/madang/warehouse.duckdb",
            )
        connect_to = (env.get("MADANG_CONNECT_TO") or "").rstrip("/") or None
        if connect_to is not None and urlsplit(connect_to).scheme not in ("http", "https"):
            raise SettingsError(
                "not an http URL", where="MADANG_CONNECT_TO", mend="use http://127.0.0.1:PORT of the stand-in agency"
            )
        return cls(
            home=home,
            store_url=env.get("MADANG_STORE") or f"file://{_in_url(home)}/store",
            public_url=(env.get("MADANG_PUBLIC_URL") or "").rstrip("/") or None,
            ledger_url=env.get("MADANG_LEDGER") or f"sqlite:///{home}/ledger.sqlite",
            warehouse=warehouse,
            executor=executor,
            feed_folders=(ROOT / "assets" / "feeds", *_folders(env, "MADANG_FEEDS")),
            set_folders=(ROOT / "assets" / "training_sets", *_folders(env, "MADANG_SETS")),
            connect_to=connect_to,
            contact=env.get("MADANG_CONTACT", ""),
            reports_url=(env.get("MADANG_REPORTS_URL") or "http://127.0.0.1:3001").rstrip("/"),
        )

    def make_home(self) -> None:
        """The folder of all state, made where it is missing. Raises SettingsError where this user cannot."""
        try:
            self.home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(
                f"the folder {self.home} cannot be made ({error.strerror})",
                where="MADANG_HOME",
                mend="name a folder that this user may write to",
            ) from None

    def in_force(self, environ: Mapping[str, str] | None = None) -> dict[str, str]:
        """Every setting by its variable's name, secrets masked, for `madang doctor`."""
        env = os.environ if environ is None else environ
        values = {
            "MADANG_HOME": str(self.home),
            "MADANG_STORE": self.store_url,
            "MADANG_PUBLIC_URL": self.public_url or "",
            "MADANG_LEDGER": without_password(self.ledger_url),
            "MADANG_WAREHOUSE": without_password(self.warehouse),
            "MADANG_EXECUTOR": self.executor,
            "MADANG_FEEDS": os.pathsep.join(map(str, self.feed_folders)),
            "MADANG_SETS": os.pathsep.join(map(str, self.set_folders)),
            "MADANG_CONNECT_TO": self.connect_to or "",
            "MADANG_CONTACT": self.contact,
            "MADANG_REPORTS_URL": self.reports_url,
            "AWS_ENDPOINT_URL": env.get("AWS_ENDPOINT_URL", ""),
            "AWS_REGION": env.get("AWS_REGION", ""),
        }
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            values[name] = "***" if env.get(name) else ""
        return values


def _in_url(path: Path) -> str:
    """A path as a URL holds it: only what would end or change the path is escaped, so that it stays readable."""
    return str(path).replace("%", "%25").replace("?", "%3F").replace("#", "%23")


def _folders(env: Mapping[str, str], name: str) -> tuple[Path, ...]:
    folders = tuple(Path(part).expanduser().absolute() for part in env.get(name, "").split(os.pathsep) if part)
    for folder in folders:
        if not folder.is_dir():
            raise SettingsError(f"there is no folder {folder}", where=name, mend="make it, or take it out of the list")
    return folders


def without_password(url: str) -> str:
    """The URL with its password masked."""
    try:
        parts = urlsplit(url)
        password = parts.password
    except ValueError:
        return "***"
    return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{password}@", ":***@"))) if password else url
