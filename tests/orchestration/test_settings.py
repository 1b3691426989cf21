"""Settings come from the environment alone; a wrong one is named, a secret is never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from assets.errors import SettingsError
from assets.store import Store
from orchestration.settings import ROOT, Settings, without_password


def test_defaults_keep_everything_below_the_home() -> None:
    settings = Settings.from_environment({})
    assert settings.home == ROOT / ".madang"
    assert settings.store_url == f"file://{settings.home}/store"
    assert settings.ledger_url == f"sqlite:///{settings.home}/ledger.sqlite"
    assert settings.warehouse == str(settings.home / "warehouse.duckdb")
    assert settings.connect_to is None
    assert settings.public_url is None


@pytest.mark.parametrize("name", ["a b", "마당", "100%25", "what?", "no#1"])
def test_a_home_of_any_name_holds_its_store(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings.from_environment({"MADANG_HOME": name})
    Store(settings.store_url).put_bytes("sets/x", b"1")
    assert (tmp_path / name / "store" / "sets" / "x").read_bytes() == b"1"


def test_own_folders_are_added_to_the_shipped_ones(tmp_path: Path) -> None:
    settings = Settings.from_environment({"MADANG_FEEDS": str(tmp_path), "MADANG_SETS": str(tmp_path)})
    assert settings.feed_folders == (ROOT / "assets" / "feeds", tmp_path)
    assert settings.set_folders == (ROOT / "assets" / "training_sets", tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MADANG_FEEDS", "/no/such/folder"),
        ("MADANG_EXECUTOR", "threads"),
        ("MADANG_CONNECT_TO", "127.0.0.1:8055"),
        ("MADANG_WAREHOUSE", "ducklake:sqlite:metadata.sqlite"),
    ],
)
def test_a_wrong_setting_is_named_with_its_mend(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({name: value})
    assert caught.value.where == name
    assert caught.value.mend


def test_secrets_are_masked_where_settings_are_shown() -> None:
    environment = {
        "MADANG_LEDGER": "postgresql://madang:open-sesame@db/ledger",
        "AWS_SECRET_ACCESS_KEY": "open-sesame",
        "AWS_ACCESS_KEY_ID": "open-sesame",
    }
    shown = Settings.from_environment(environment).in_force(environment)
    assert "open-sesame" not in str(shown)
    assert shown["MADANG_LEDGER"] == "postgresql://madang:***@db/ledger"


@pytest.mark.parametrize("url", ["sqlite:////home/x.sqlite", "s3://bucket/prefix", "postgresql://user@host/db"])
def test_a_url_without_a_password_is_shown_as_it_is(url: str) -> None:
    assert without_password(url) == url
