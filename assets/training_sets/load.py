"""Reading `set.yaml`: one declared training set, or all of a folder, with the line of every problem.

YAML itself is `assets/yaml_document.py`; what a set may say is `model.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from assets.errors import DeclarationError
from assets.training_sets.model import SplitByTime, TrainingSet
from assets.training_sets.split import duration, moment
from assets.yaml_document import Document, InvalidDeclaration, Problem, read, validate

FILE = "set.yaml"
OWN_SETS = Path(__file__).resolve().parent


def load_set(path: Path) -> TrainingSet:
    """The set declared in `path` (a set.yaml, or its folder). Raises DeclarationError naming file, line and field."""
    file = path / FILE if path.is_dir() else path
    document = read(file)
    spec = validate(TrainingSet, document)
    problems = list(_problems(document, spec))
    if problems:
        raise InvalidDeclaration(problems)
    return spec


class LoadedSets(NamedTuple):
    """Every set that could be read, by name, and what was wrong with the rest."""

    sets: dict[str, TrainingSet]
    problems: list[Problem]


def load_sets(folders: Iterable[Path] = (OWN_SETS,)) -> LoadedSets:
    """Every set of the folders. A broken one, or a second of one name, is a problem and does not keep the others from loading."""
    found: dict[str, tuple[Path, TrainingSet]] = {}
    problems: list[Problem] = []
    for folder in folders:
        for file in sorted(folder.glob(f"*/{FILE}")):
            try:
                spec = load_set(file)
            except InvalidDeclaration as error:
                problems.extend(error.problems)
                continue
            except DeclarationError as error:
                problems.append(Problem(str(file), 1, "", error.what, error.mend))
                continue
            if spec.name in found:
                what = f"training set '{spec.name}' is declared in {found[spec.name][0]} too"
                problems.append(Problem(str(file), 1, "name", what, "rename one of them"))
                continue
            found[spec.name] = (file, spec)
    return LoadedSets({name: spec for name, (_, spec) in sorted(found.items())}, problems)


def check(path: Path, feeds: Collection[str] | None = None) -> list[Problem]:
    """Every problem of a set.yaml; with `feeds`, also sources that no feed declares. Empty: the set can be used."""
    file = path / FILE if path.is_dir() else path
    try:
        document = read(file)
        spec = validate(TrainingSet, document)
    except InvalidDeclaration as error:
        return list(error.problems)
    except DeclarationError as error:
        return [Problem(str(file), 1, "", error.what, error.mend)]
    problems = list(_problems(document, spec))
    for index, feed in enumerate(spec.feeds):
        if feeds is not None and feed not in feeds:
            loc = ("feed",) if spec.feed is not None else ("sources", index)
            problems.append(Problem(str(file), document.line(loc), loc[0], f"names feed '{feed}', which no feed.yaml declares", ""))
    return problems


def _problems(document: Document, spec: TrainingSet) -> Iterable[Problem]:
    """What the model cannot say: times and durations that are none, cut-offs in the wrong order."""
    file, rule = str(document.path), spec.split
    if document.path.parent.name != spec.name and document.path.name == FILE:
        what = f"is '{spec.name}', but its folder is '{document.path.parent.name}'"
        yield Problem(file, document.line(("name",)), "name", what, "give folder and set one name")
    if not isinstance(rule, SplitByTime):
        return
    sound = True
    for field, parse, mend in (
        ("validation_from", moment, "write an ISO time, like 2018-09-01T00:00:00Z"),
        ("test_from", moment, "write an ISO time, like 2018-10-16T00:00:00Z"),
        ("embargo", duration, "write a duration of fixed length, like P7D or PT24H"),
    ):
        try:
            parse(getattr(rule, field))
        except ValueError:
            sound = False
            yield Problem(file, document.line(("split", field)), f"split.{field}", "cannot be read as a time or duration", mend)
    if sound and moment(rule.validation_from) >= moment(rule.test_from):
        yield Problem(
            file, document.line(("split", "test_from")), "split.test_from", "is not after validation_from", "put test last"
        )
