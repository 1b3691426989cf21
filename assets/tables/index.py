"""The table index: `tables/<feed>/index.json` says which files are the table. Nothing else does; nobody globs.

It is swapped last and atomically. Data files are immutable, named by their content, and never overwritten; earlier versions
stay listed, a bounded number of them. What goes into a version is `build.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from assets.errors import IntegrityError
from assets.store import Store

if TYPE_CHECKING:
    from assets.archive.fetches import FetchRecord

KEPT_VERSIONS = 30
"""Earlier versions that a partition keeps listed, for hold and rollback."""
WHOLE = "all"
"""The partition of a feed that has none."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class DataFile(_Part):
    """One immutable object of the store."""

    key: str
    rows: int
    bytes: int
    sha256: str


class Quarantine(_Part):
    files: tuple[DataFile, ...] = ()
    rows: int = 0


class Version(_Part):
    """The files of one version of a partition: the whole table, what was quarantined, what changed against the one before.

    `fetch_id`: the fetch whose rows made it; `changes`: added, revised, withdrawn, unchanged.
    """

    fetch_id: str
    origin: str
    updated_at: datetime
    contract_sha256: str
    files: tuple[DataFile, ...]
    rows: int
    quarantine: Quarantine = Quarantine()
    changes: dict[str, int]
    changed_files: tuple[DataFile, ...] = ()


class Partition(Version):
    """The live version. `last_fetch_id`, `last_started_at`: the latest fetch that was merged, even when it changed nothing;
    `last_body_fetch_id`: the fetch whose archive file holds its bytes."""

    last_fetch_id: str
    last_body_fetch_id: str
    last_started_at: datetime
    previous: tuple[Version, ...] = ()

    @property
    def data_version(self) -> str:
        """What Dagster knows the partition by, as `TableIndex.data_version`."""
        return f"{self.fetch_id}+{self.contract_sha256[:8]}"

    def comes_before(self, record: FetchRecord) -> bool:
        """Whether the live version is from before this fetch."""
        return (self.last_started_at, self.last_fetch_id) < (record.started_at, record.fetch_id)

    def as_version(self) -> Version:
        return Version.model_validate(
            self.model_dump(exclude={"last_fetch_id", "last_body_fetch_id", "last_started_at", "previous"})
        )


class TableIndex(_Part):
    """The index of a feed's table. `confirmed_at`: when the agency was last seen to have nothing else."""

    feed: str
    contract_sha256: str
    updated_at: datetime
    fetch_id: str
    origin: str
    confirmed_at: datetime
    partitions: dict[str, Partition]

    @property
    def data_version(self) -> str:
        """What Dagster knows the table by: the same fetch read under another contract is another table."""
        return f"{self.fetch_id}+{self.contract_sha256[:8]}"

    def version_of(self, partition: str | None) -> str | None:
        """The data version of the partition; of the whole table where none is named; None where there is no such partition."""
        if partition is None:
            return self.data_version
        part = self.partitions.get(partition)
        return part.data_version if part else None

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.partitions.values())

    def live_files(self) -> list[DataFile]:
        """The live data files, partitions by name."""
        return [file for _, part in sorted(self.partitions.items()) for file in part.files]

    def quarantine_files(self) -> list[DataFile]:
        """What the latest merged fetch of each partition left in quarantine."""
        return [file for _, part in sorted(self.partitions.items()) for file in part.quarantine.files]

    def as_json(self) -> dict[str, Any]:
        value: dict[str, Any] = self.model_dump(mode="json")
        return value


def index_key(feed: str) -> str:
    return f"tables/{feed}/index.json"


def read_index(store: Store, feed: str) -> TableIndex | None:
    """The index as it is now; None where the feed has no table yet."""
    value = store.read_pointer(index_key(feed)).value
    if value is None:
        return None
    try:
        return TableIndex.model_validate(value)
    except ValueError as error:
        raise IntegrityError(
            "the table index cannot be read",
            where=f"{store.url}/{index_key(feed)}",
            mend="rebuild the feed's table from the archive",
        ) from error


def swap_partition(
    store: Store, feed: str, name: str, seen: Partition | None, renew: Callable[[TableIndex | None], TableIndex]
) -> None:
    """Make `renew(the index as it is)` live. StoreConflict where the partition is no longer as it was `seen`.

    What others did to other partitions meanwhile is no conflict: it is in the index that `renew` gets, and stays.
    """

    def change(value: dict[str, Any]) -> dict[str, Any]:
        now = TableIndex.model_validate(value) if value else None
        if (now.partitions.get(name) if now else None) != seen:
            raise store.conflict(index_key(feed))
        return renew(now).as_json()

    store.update_pointer(index_key(feed), change)


def live_paths(store: Store, index: TableIndex | None, cache: Path, partition: str | None = None) -> list[Path]:
    """Local files of the live table, or of one partition of it."""
    if index is None:
        return []
    if partition is None:
        return [store.local_path(file.key, cache) for file in index.live_files()]
    part = index.partitions.get(partition)
    return [store.local_path(file.key, cache) for file in part.files] if part else []


def confirm(store: Store, feed: str, at: datetime) -> None:
    """Note that the agency was asked at `at` and had nothing new. Nothing to do where there is no table yet."""

    def change(value: dict[str, Any]) -> dict[str, Any]:
        if value and datetime.fromisoformat(value["confirmed_at"]) < at:
            value["confirmed_at"] = at.isoformat()
        return value

    if store.read_pointer(index_key(feed)).value is not None:
        store.update_pointer(index_key(feed), change)
