"""Reading feeds from their folders: one folder a feed, named by its id, with `feed.yaml` in it.

Here is what a whole set of feeds must agree on, what can be told of a feed before it ever runs, and the JSON Schema that
editors use. What a single declaration may say is `model.py`; YAML and its errors are `assets/yaml_document.py`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from assets.errors import DeclarationError
from assets.feeds.model import Feed
from assets.feeds.partitions import MANY
from assets.protocols.queries import places_of
from assets.yaml_document import Document, InvalidDeclaration, Problem, read, validate
from assets.yaml_sentences import Location, dotted

FOLDER = Path(__file__).resolve().parent
"""The feeds that come with Madang."""

FEED_FILE = "feed.yaml"
SCHEMA_FILE = FOLDER / "feed.schema.json"
NEXT_RUNS = 3


class Loaded(NamedTuple):
    """Every feed that could be read, by id, and what was wrong with the rest."""

    feeds: dict[str, Feed]
    problems: list[Problem]


@dataclass
class Check:
    """What can be told of declarations without running them. `notes` do not stop a feed; `problems` do.

    `next_runs`: by feed id, the next run times of its schedule, in the schedule's time zone; `partitions`: by the id of those that
    have some, which there are and which a run asks for.
    """

    feeds: dict[str, Feed] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)
    next_runs: dict[str, list[datetime]] = field(default_factory=dict)
    partitions: dict[str, dict[str, Any]] = field(default_factory=dict)


def load_feed(path: Path) -> Feed:
    """One feed, from its folder or its feed.yaml. Raises DeclarationError (InvalidDeclaration with every problem)."""
    return _load(_file(path))[0]


def load_feeds(folders: Sequence[Path] = (FOLDER,)) -> Loaded:
    """Every feed of the folders. A broken feed is a problem and does not keep the others from loading."""
    feeds: dict[str, Feed] = {}
    files: dict[str, Path] = {}
    problems: list[Problem] = []
    for folder in folders:
        if not folder.is_dir():
            problems.append(Problem(str(folder), 1, "", "is no folder of feeds", "check the path, or MADANG_FEEDS"))
            continue
        for file in _files(folder):
            try:
                feed, document = _load(file)
            except DeclarationError as error:
                problems.extend(_problems_of(error, file))
                continue
            if feed.id in feeds:
                line, first = document.line(("id",)), files[feed.id]
                problems.append(
                    Problem(str(file), line, "id", f"'{feed.id}' is also declared by {first}", "rename or remove one of the two")
                )
                continue
            if (other := next((f.id for f in feeds.values() if f.relation == feed.relation), None)) is not None:
                problems.append(_same_relation(feed, other, document, file))
                continue
            feeds[feed.id], files[feed.id] = feed, file
    return Loaded(feeds, problems)


def check(paths: Iterable[Path], *, now: datetime | None = None) -> Check:
    """Check single feeds (a folder or feed.yaml) or folders of feeds: fields, expectations, secrets and schedule."""
    found = Check()
    seen: dict[str, Path] = {}
    for file in dict.fromkeys(f.resolve() for path in paths for f in _expand(path)):
        try:
            feed, document = _load(file)
        except DeclarationError as error:
            found.problems.extend(_problems_of(error, file))
            continue
        if feed.id in seen:
            what = f"'{feed.id}' is also declared by {seen[feed.id]}"
            found.problems.append(Problem(str(file), document.line(("id",)), "id", what, "rename or remove one of the two"))
            continue
        seen[feed.id] = file
        if (other := next((f.id for f in found.feeds.values() if f.relation == feed.relation), None)) is not None:
            found.problems.append(_same_relation(feed, other, document, file))
        found.feeds[feed.id] = feed
        found.problems.extend(_expectation_problems(feed, document, file))
        found.notes.extend(_secret_notes(feed, document, file))
        found.next_runs[feed.id] = next_runs(feed, now)
        if feed.partitions is not None:
            found.partitions[feed.id] = told = partitions_told(feed, now or datetime.now(UTC))
            if told["count"] > MANY:
                line, what = (
                    document.line(("partitions",)),
                    f"{told['count']:,} partitions; above {MANY:,} each change takes seconds",
                )
                found.notes.append(Problem(str(file), line, "partitions.every", what, "choose a longer period"))
    return found


def partitions_told(feed: Feed, now: datetime) -> dict[str, Any]:
    """Which partitions there are by now, and which of them a run asks for by itself."""
    assert feed.partitions is not None
    keys = feed.partitions.keys(feed.schedule, now)
    return {
        "every": feed.partitions.every,
        "count": len(keys),
        "first": keys[0] if keys else None,
        "last": keys[-1] if keys else None,
        "due": feed.partitions.due(feed.schedule, now),
    }


def next_runs(feed: Feed, now: datetime | None = None, count: int = NEXT_RUNS) -> list[datetime]:
    """The next run times of the feed's schedule after `now` (aware; default: the present), in its time zone."""
    return next_times(feed.schedule.cron, feed.schedule.timezone, now or datetime.now(UTC), count)


def next_times(cron: str, timezone: str, now: datetime, count: int = NEXT_RUNS) -> list[datetime]:
    """The next times of a cron expression on the wall clock of a zone, after `now`.

    Fewer where the expression names no more days. A moment that the clock skips in spring is no run time.
    """
    from croniter import CroniterBadDateError, croniter

    zone = ZoneInfo(timezone)
    # Cron counts on the wall clock, so the zone is put on afterwards.
    start = now.astimezone(zone)
    ticks = croniter(cron, start.replace(tzinfo=None), implement_cron_bug=True)
    found: list[datetime] = []
    while len(found) < count:
        try:
            moment = ticks.get_next(datetime).replace(tzinfo=zone)
        except CroniterBadDateError:
            break
        exists = moment.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == moment.replace(tzinfo=None)
        if exists and moment > start:
            found.append(moment)
    return found


def rows(feeds: Iterable[Feed], environment: Mapping[str, str]) -> list[dict[str, Any]]:
    """One row a feed, as `madang feed list` shows them.

    `enabled`: yes, no, or the name of the key that it waits for; `verified`: when its real answer, and its licence page, were
    archived.
    """
    return [
        {
            "id": feed.id,
            "agency": feed.agency.name,
            "protocol": feed.source.protocol,
            "enabled": "yes" if is_ready(feed, environment) else f"needs {feed.source.auth.secret}" if feed.enabled else "no",
            "schedule": f"{feed.schedule.cron} {feed.schedule.timezone}",
            "licence": feed.licence.id,
            "verified": ", ".join(str(when) for when in (feed.verified.live, feed.verified.licence_page) if when) or "never",
        }
        for feed in sorted(feeds, key=lambda f: f.id)
    ]


def is_ready(feed: Feed, environment: Mapping[str, str]) -> bool:
    """Whether the feed runs on its schedule: it is enabled, and the key that it needs is there."""
    secret = feed.source.auth.secret
    return feed.enabled and (secret is None or bool(environment.get(secret)))


def feed_json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of feed.yaml, for editors and for whoever writes feeds by program."""
    schema = Feed.model_json_schema(mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Madang feed"}


def schema_text() -> str:
    """The schema as kept in `feed.schema.json`; `python -m assets.feeds.load` writes it there."""
    return json.dumps(feed_json_schema(), ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def _file(path: Path) -> Path:
    return path / FEED_FILE if path.is_dir() else path


def _files(folder: Path) -> list[Path]:
    """feed.yaml of every feed folder; folders whose name starts with a dot or underscore are not feeds."""
    return sorted(sub / FEED_FILE for sub in folder.iterdir() if sub.is_dir() and sub.name[0] not in "._")


def _expand(path: Path) -> list[Path]:
    if path.is_dir() and not (path / FEED_FILE).exists() and _files(path):
        return _files(path)
    return [_file(path)]


def _load(file: Path) -> tuple[Feed, Document]:
    document = read(file)
    feed = validate(Feed, document)
    folder = file.resolve().parent.name
    if folder != feed.id:
        line = document.line(("id",))
        what = f"is '{feed.id}', but its folder is named '{folder}'"
        raise InvalidDeclaration([Problem(str(file), line, "id", what, "give the folder the name of the id")])
    if feed.partitions is None and "partition" in places_of(feed.source.model_dump(mode="json")):
        what, mend = "{partition} is filled in from the partitions, and there are none", "declare partitions: {every: …, start: …}"
        raise InvalidDeclaration([Problem(str(file), document.line(("source",)), "source", what, mend)])
    return feed, document


def _problems_of(error: DeclarationError, file: Path) -> list[Problem]:
    if isinstance(error, InvalidDeclaration):
        return list(error.problems)
    line = error.where.removeprefix(f"{file}").strip(":").split(":")[0]
    return [Problem(str(file), int(line) if line.isdecimal() else 1, "", error.what, error.mend)]


def _same_relation(feed: Feed, other: str, document: Document, file: Path) -> Problem:
    """Two ids may differ and still give one SQL name, and one Dagster job: a.b_c.d and a_b.c.d."""
    what = f"'{feed.id}' has the SQL name {feed.relation}, and so has '{other}'"
    return Problem(str(file), document.line(("id",)), "id", what, "choose an id that differs in more than '.' and '_'")


def _expectation_problems(feed: Feed, document: Document, file: Path) -> list[Problem]:
    """Expectations that Great Expectations would refuse: loaded only here, because its import costs seconds."""
    if not feed.expectations:
        return []
    from quality.suite import problems

    columns = [c.name for c in feed.contract.columns]
    return [
        Problem(str(file), document.line(loc), dotted(loc), found.what, found.mend)
        for found in problems(feed.expectations, columns)
        for loc in [_location(found.index, found.field)]
    ]


def _location(index: int, field: str) -> Location:
    return ("expectations", index, *(part for part in field.split(".") if part))


def _secret_notes(feed: Feed, document: Document, file: Path) -> list[Problem]:
    secret = feed.source.auth.secret
    if secret is None or os.environ.get(secret):
        return []
    line = document.line(("source", "auth", "secret"))
    mend = f"set {secret} in the environment before the feed runs"
    return [Problem(str(file), line, "source.auth.secret", f"{secret} is not set here", mend)]


@cache
def shipped() -> dict[str, Feed]:
    """The feeds that come with Madang; raises DeclarationError where one does not load, which is a defect."""
    loaded = load_feeds((FOLDER,))
    if loaded.problems:
        raise InvalidDeclaration(loaded.problems)
    return loaded.feeds


if __name__ == "__main__":
    SCHEMA_FILE.write_text(schema_text(), encoding="utf-8")
