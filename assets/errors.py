"""The errors that a person is meant to act on. Anything else that escapes is a defect of Madang itself."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class MadangError(Exception):
    """One clear sentence for the person who must act: what is wrong, where it is, and the mend.

    Never put a secret, an unredacted URL or a row's value in any of the three.
    """

    def __init__(self, what: str, *, where: str = "", mend: str = "") -> None:
        self.what, self.where, self.mend = what, where, mend
        super().__init__(what, where, mend)

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head} — {self.mend}" if self.mend else head

    def as_json(self) -> dict[str, str]:
        """The same three parts for `--json`."""
        return {"error": type(self).__name__, "what": self.what, "where": self.where, "mend": self.mend}

    def __reduce__(self) -> tuple[Any, ...]:
        # The default rebuilds with positional arguments only, fails, and leaves a process pool waiting for ever.
        return _rebuilt, (type(self), self.args, dict(self.__dict__))


def _rebuilt(kind: type[MadangError], args: tuple[Any, ...], state: dict[str, Any]) -> MadangError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class DeclarationError(MadangError):
    """A feed.yaml or set.yaml that cannot be used as it stands."""


class SettingsError(MadangError):
    """An environment variable that is missing or wrong."""


class FetchFailed(MadangError):
    """A fetch that ended in an outcome other than Ok, Empty or NotModified; `outcome` is its name."""

    def __init__(self, what: str, *, outcome: str, where: str = "", mend: str = "") -> None:
        super().__init__(what, where=where, mend=mend)
        self.outcome = outcome


class UnreadableSource(MadangError):
    """Archived bytes that cannot be read as the rows the feed promises (wrong format, encoding, delimiter, bomb)."""


class Blocked(MadangError):
    """A gate refused: the last good table or release stays. `checks` names the gates that failed."""

    def __init__(self, what: str, *, checks: tuple[str, ...], where: str = "", mend: str = "") -> None:
        super().__init__(what, where=where, mend=mend)
        self.checks = checks


class DiskFull(MadangError):
    """Nothing more can be written where Madang keeps its state, or SQLite cannot read and write there."""


class StoreUnreachable(MadangError):
    """The object store does not answer, or died in the middle of an answer."""


class StoreConflict(MadangError):
    """Another writer moved the pointer between our read and our swap."""


class IntegrityError(MadangError):
    """Stored bytes differ from what their manifest, index or digest says."""


def did_you_mean(word: str, known: Iterable[str], otherwise: str) -> str:
    """The mend of a mistyped name: the nearest of `known` where one is near, before what else helps."""
    near = difflib.get_close_matches(word, [name for name in known if name != word], n=1)
    return f"did you mean {near[0]}? {otherwise}" if near else otherwise


FULL = ("no space left on device", "disk quota exceeded", "file too large", "disk is full")
"""How a full disk is said, by the system and by the libraries that write for us, none of which have an error of its own for it."""
SQLITE_IO = "disk i/o error"
"""What SQLite says where it cannot make the files beside a database: mostly of a full disk, but of one that fails too."""


def disk_full(error: BaseException, where: str = "MADANG_HOME or MADANG_STORE") -> DiskFull | None:
    """The sentence for an error that means a full disk; None for every other."""
    if isinstance(error, DiskFull):
        return error
    said = str(error).lower()
    if any(words in said for words in FULL):
        return DiskFull("the disk is full; what was there before is untouched", where=where, mend="make room, and run again")
    if SQLITE_IO in said:
        return DiskFull(
            "the disk is full, or it fails (disk I/O error); what was there before is untouched",
            where=where,
            mend="make room, and run again; where there is room, have the disk looked at",
        )
    return None
