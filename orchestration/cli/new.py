"""`madang feed new`: from an address, or a file in hand, to a declared feed. It asks, renders, and leaves the thinking to
`assets/onboarding/`.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assets.errors import MadangError, UnreadableSource
from orchestration.cli.output import Json, out, print_json, print_table, progress, say, title
from orchestration.cli.standin import answering
from orchestration.settings import Settings

if TYPE_CHECKING:
    from assets.onboarding.columns import Proposal
    from assets.onboarding.declaration import Answers
    from assets.onboarding.looking import Sample
    from assets.onboarding.schedule import Language

SHOWN_ROWS = 5
CELL = 24


def new(
    url: Annotated[
        str | None,
        typer.Option(
            help="Address of the file or API, without a key in it, or of a folder: sftp://user@host/folder/pattern*.csv, ftp://, s3://."
        ),
    ] = None,
    file: Annotated[Path | None, typer.Option(help="A file in hand to look at in place of what the address gives.")] = None,
    protocol: Annotated[
        str | None, typer.Option(help="How the agency speaks, where the address does not tell: http_file, …")
    ] = None,
    host_key: Annotated[list[str] | None, typer.Option(help="SFTP: fingerprint of the server's host key, SHA256:…")] = None,
    id_: Annotated[str | None, typer.Option("--id", help="Id of the feed: country.agency.name.")] = None,
    named: Annotated[str | None, typer.Option("--title", help="Title, as the agency calls the data.")] = None,
    agency: Annotated[str | None, typer.Option(help="Name of the agency.")] = None,
    country: Annotated[str, typer.Option(help="The agency's country, two letters.")] = "KR",
    licence: Annotated[str | None, typer.Option(help="KOGL-1 … KOGL-4, CC-BY-4.0, US-PD, …")] = None,
    licence_url: Annotated[str | None, typer.Option(help="Page where the agency states it.")] = None,
    documentation: Annotated[str | None, typer.Option(help="Page where the agency documents the data.")] = None,
    schedule: Annotated[str | None, typer.Option(help="In words or cron: 매일 03:00, every weekday 6:30, 30 3 5 * *.")] = None,
    timezone: Annotated[str | None, typer.Option(help="IANA zone of the schedule; default: the country's.")] = None,
    into: Annotated[Path, typer.Option(help="Folder of feeds that gets the new one.", file_okay=False)] = Path("feeds"),
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: take what is given, and proposals for the rest.")] = False,
    lang: Annotated[str | None, typer.Option(help="ko or en; default: by the locale.")] = None,
    json_: Json = False,
) -> None:
    """Look at an address or a file, propose the columns, ask what only a person knows, and write a feed.yaml that passes the check.

    Nothing of what is looked at is kept. Keys are read from the environment, never from the address.
    """
    from assets.onboarding.words import Refused, language_of

    language: Language = "ko" if lang == "ko" else "en" if lang == "en" else language_of(os.environ)
    given = {
        "title": named,
        "agency": agency,
        "id": id_,
        "licence": licence,
        "licence_url": licence_url,
        "documentation": documentation,
        "schedule": schedule,
    }
    try:
        if lang not in (None, "ko", "en"):
            raise Refused("no_language", language=lang)
        _new(
            given, url, file, protocol, host_key, country.upper(), timezone, into, _Asker(language, quiet=yes or json_), json_=json_
        )
    except Refused as error:
        raise error.told(language) from None


def _new(
    given: dict[str, str | None],
    url: str | None,
    file: Path | None,
    protocol: str | None,
    host_key: list[str] | None,
    country: str,
    timezone: str | None,
    into: Path,
    ask: _Asker,
    *,
    json_: bool,
) -> None:
    """The steps of `new`. Raises Refused in English where a person has to correct something."""
    from assets.feeds import load
    from assets.onboarding.columns import propose
    from assets.onboarding.declaration import feed_yaml, write_feed
    from assets.onboarding.looking import address_of
    from assets.onboarding.words import Refused, words

    language = ask.language
    zone = _zone(country, timezone)
    if file is not None and not file.is_file():
        raise Refused("no_file", where=str(file))
    address = url or ask("url" if file is None else "published", "--url")
    source = _source(ask, address, protocol, host_key)
    address = address_of(source)
    sample = _looked(source, address, file, country, language)
    proposal = propose(sample.sources, sample.rows)
    notes = [note.text(language) for note in (*sample.notes, *proposal.notes)]
    if not json_:
        _show(sample, proposal, notes, language)
    answers = _answers(ask, given, address, country, zone, into, file)
    if not proposal.columns:
        raise Refused("no_rows", where=address)
    path = write_feed(into, answers, feed_yaml(sample, proposal, answers))
    found = load.check([path])
    if found.problems:
        # The proposal's fault, not the person's: what was written stays, to be corrected.
        raise MadangError(f"the proposal does not pass: {found.problems[0]}", where=str(path), mend="correct that line")
    runs = [run.isoformat(timespec="minutes") for run in found.next_runs[answers.id]]
    if json_:
        print_json(
            {
                "path": str(path),
                "id": answers.id,
                "source": sample.source,
                "rows": len(sample.rows),
                "encoding": sample.encoding or "utf-8",
                "columns": [column.as_column() for column in proposal.columns],
                "key": list(proposal.key),
                "decode": proposal.decode,
                "notes": notes,
                "next_runs": runs,
            }
        )
        return
    say("✓", "green", words("says", "written", language, path=path))
    out.print(f"{words('says', 'next', language)}:\n", highlight=False)
    out.print(f"    MADANG_FEEDS={into} madang feed preview {answers.id}", highlight=False, soft_wrap=True)


class _Asker:
    """Asks one question at a time; where nothing may be asked, takes the proposal, or says which option is missing."""

    def __init__(self, language: Language, *, quiet: bool) -> None:
        self.language, self.quiet = language, quiet

    def __call__(
        self, key: str, option: str, default: str | None = None, check: Callable[[str], str] | None = None, **values: Any
    ) -> str:
        from assets.onboarding.words import Refused, words

        question = words("asks", key, self.language, **values)
        if self.quiet:
            if default is None:
                raise Refused("option_missing", option=option, question=question)
            return check(default) if check else default
        while True:
            answer = str(typer.prompt(question, default=default, err=True)).strip()
            try:
                return check(answer) if check else answer
            except Refused as error:
                say("✗", "red", error.told(self.language))


def _zone(country: str, timezone: str | None) -> str:
    """The schedule's zone. Refused on a country or a zone that is none."""
    from zoneinfo import ZoneInfo

    from assets.onboarding.declaration import ZONES
    from assets.onboarding.words import Refused

    if not re.fullmatch("[A-Z]{2}", country):
        raise Refused("no_country", country=country[:60])
    zone = timezone or ZONES.get(country, "UTC")
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):  # no such zone, a path in place of a name, the folder of a region
        raise Refused("no_zone", zone=zone[:60]) from None
    return zone


def _source(ask: _Asker, address: str, protocol: str | None, host_keys: list[str] | None) -> dict[str, Any]:
    """What the address suggests; of an SFTP server with its host key, and with a private key where its variable holds one."""
    from assets.onboarding.looking import source_of

    source = source_of(address, protocol)
    if source["protocol"] == "sftp":
        source["host_keys"] = host_keys or [ask("host_key", "--host-key", None, _fingerprint)]
        if "PRIVATE KEY" in os.environ.get(source["auth"]["secret"], ""):
            source["auth"]["kind"] = "private_key"
    for key in source.get("host_keys", []):
        _fingerprint(key)
    return source


def _fingerprint(text: str) -> str:
    from assets.onboarding.words import Refused
    from assets.protocols.sftp import is_fingerprint

    if not is_fingerprint(text):
        raise Refused("no_fingerprint", text=text[:100])
    return text


def _looked(source: dict[str, Any], shown: str, file: Path | None, country: str, language: Language) -> Sample:
    from assets.onboarding.looking import look_at_file
    from assets.onboarding.words import Refused

    try:
        if file is not None:
            return look_at_file(file, file.name, country=country, source=source)
        return _asked(source, shown, country, language)
    except UnreadableSource as error:
        where = str(file or shown)
        raise (
            error.told(language, where=where)
            if isinstance(error, Refused)
            else UnreadableSource(error.what, where=where, mend=error.mend)
        ) from None


def _asked(source: dict[str, Any], address: str, country: str, language: Language) -> Sample:
    from assets.onboarding.looking import look
    from assets.onboarding.words import words
    from assets.transport.http import TransportSettings

    with answering(Settings.from_environment()) as settings, tempfile.TemporaryDirectory(prefix="madang-look-") as folder:
        transport = TransportSettings(connect_to=settings.connect_to, contact=settings.contact)
        with progress() as bar:
            bar.add_task(words("says", "looking", language, address=address), total=None)
            return look(source, Path(folder), transport=transport, secrets=os.environ, country=country)


def _answers(
    ask: _Asker, given: dict[str, str | None], address: str, country: str, zone: str, into: Path, file: Path | None
) -> Answers:
    """What was given as options, and the rest asked for. `address`: without a key, for it is proposed as an answer."""
    from assets.onboarding.declaration import Answers, free_place, licence_id, suggested_id
    from assets.onboarding.looking import keyless
    from assets.onboarding.schedule import EXAMPLES
    from quality.rights import table

    def free(id_: str) -> str:
        free_place(into, id_)
        return id_

    def understood(words_: str) -> str:
        return _schedule(words_, zone, ask.language)

    titled = given["title"] or ask("title", "--title", file.stem if file else None)
    agency = given["agency"] or ask("agency", "--agency")
    id_ = free(given["id"]) if given["id"] else ask("id", "--id", suggested_id(country, address, titled), free)
    usual = "KOGL-1" if country == "KR" and not ask.quiet else None
    licence = licence_id(given["licence"]) if given["licence"] else ask("licence", "--licence", usual, licence_id)
    known = table().get(licence)
    page = keyless(given["licence_url"] or ask("licence_url", "--licence-url", known.url if known and known.url else None))
    documentation = given["documentation"] or (None if ask.quiet else ask("documentation", "--documentation", address, keyless))
    if documentation is not None:
        keyless(documentation)

    said = given["schedule"]
    cron = understood(said) if said else ask("schedule", "--schedule", None, understood, examples=EXAMPLES[ask.language])
    return Answers(id_, titled, agency, country, licence, page, cron, zone, documentation)


def _schedule(said: str, zone: str, language: Language) -> str:
    """The cron expression, with its next runs shown. Refused with examples where the words are not understood."""
    from assets.feeds.load import next_times
    from assets.onboarding.schedule import EXAMPLES, NotUnderstood, cron_of, in_words
    from assets.onboarding.words import Refused, words

    try:
        cron = cron_of(said)
    except NotUnderstood as error:
        why = words("schedule", error.key, language, **error.values)
        raise Refused("no_schedule", why=why, examples=EXAMPLES[language]) from None
    runs = ", ".join(f"{run:%Y-%m-%d %H:%M %Z}" for run in next_times(cron, zone, datetime.now(UTC)))
    say("·", "yellow", words("says", "runs", language, words=in_words(cron, language), cron=cron, runs=runs))
    return cron


def _show(sample: Sample, proposal: Proposal, notes: list[str], language: Language) -> None:
    from assets.onboarding.words import words

    layout = ", ".join(str(part) for part in (sample.source["protocol"], sample.source.get("format"), sample.encoding) if part)
    title(words("says", "came", language, rows=f"{len(sample.rows):,}", columns=len(sample.sources), layout=layout))
    if sample.rows:
        title(words("says", "first", language))
        print_table(sample.sources, ([(value or "")[:CELL] for value in row] for row in sample.rows[:SHOWN_ROWS]))
        out.print()
    title(words("says", "proposal", language))
    print_table(
        ["name", "source", "type", "", "example"],
        (
            [
                guess.name,
                guess.source,
                guess.declared["type"],
                ", ".join(f"{k}: {v}" for k, v in guess.declared.items() if k not in ("type", "cleared")),
                next((value for row in sample.rows if (value := row[n])), "")[:CELL],
            ]
            for n, guess in enumerate(proposal.columns)
        ),
    )
    out.print()
    out.print(words("says", "key", language, key=", ".join(proposal.key) or "—"), highlight=False)
    if markers := [m for m in proposal.decode.get("null_values", []) if m]:
        out.print(words("says", "markers", language, markers=" ".join(markers)), highlight=False)
    for note in notes:
        say("·", "yellow", note)
