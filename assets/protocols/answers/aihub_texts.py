"""What AI Hub's texts say: the list of data sets, the tree of a data set's files, the sentences in place of either.

Pure. The texts are written for a terminal: a banner, a notice, rules of `=`, a tree drawn with lines (protocols.md 2.8). What an
answer means, status and all, is `aihub_answers.py`; bodies that are files are `tables/readers/tar_parts.py`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from assets.protocols.answers.json_answers import in_words
from assets.protocols.kernel import Response

MAX_TEXT_BYTES = 64 * 1024 * 1024
"""A longer list or tree is none."""
_MOST_DEPTH = 64
_BEGUN = re.compile(r"^[ \t]*+\d{1,9}[ \t]*+,|[├└]─", re.M)
_BANNER = ("The contents are encoded in UTF-8", "If the following contents are not output", "Please modify the character")
_RULE = re.compile(r"={3,}+(?:[^=\n]{1,60}+={3,}+)?")
_ENTRY = re.compile(r"(\d{1,9})\s*,\s*(\S.*)")
_BRANCH = re.compile(r"((?:[ \u00a0\t]|│)*)(├─+|└─+)\s*(.*)")
_LEAF = re.compile(r"(.*\S)\s*\|\s*(\d{1,12}(?:\.\d{1,6})?)\s*([KMGTP]?)i?B?\s*\|\s*(\d{1,12})\s*", re.I)
_UNITS = " KMGTP"

_NOT_THERE = re.compile(r"존재하지 ?않")
_OF_THE_KEY = re.compile(r"인증|api\s*-?\s*key|api\s*키|(?:^|[^가-힣])키[가를는]?\s", re.I)


@dataclass(frozen=True)
class Leaf:
    """A file of the tree. `path`: folders and name, NFC. `size`: as it stands there, rounded. `key`: what a download asks by."""

    path: str
    size: str
    key: str

    @property
    def stamp(self) -> str:
        """What tells one edition of the file from the next: the tree has no dates."""
        return f"{self.key}|{self.path.rpartition('/')[2]}|{self.size}"

    @property
    def bounds(self) -> tuple[int, int]:
        """The bytes that the rounded size may stand for, whether rounded up, down or to the nearest, by 1,000 or by 1,024."""
        return bounds(self.size)


def bounds(size: str) -> tuple[int, int]:
    """Fewest and most bytes of a size like `11 MB`; (0, 0) for what is none."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ([KMGTP]?)B", size)
    if found is None:
        return 0, 0
    _, _, decimals = found[1].partition(".")
    value, step, power = float(found[1]), 10.0 ** -len(decimals), _UNITS.index(found[2] or " ")
    return int(max(value - step, 0) * 1000**power), int((value + step) * 1024**power)


def decoded(data: bytes) -> str:
    """The text of a body: UTF-8, as its banner says, else CP949; what fits neither with marks in it. NFC."""
    for encoding in ("utf-8-sig", "cp949"):
        try:
            return unicodedata.normalize("NFC", data.decode(encoding))
        except UnicodeDecodeError:
            continue
    return unicodedata.normalize("NFC", data.decode("utf-8", "replace"))


def _lines(text: str) -> Iterator[str]:
    """The lines that say something, without white space at their end and without the banner."""
    for line in re.split(r"\r?\n", text):
        if line.strip() and not line.lstrip().startswith(_BANNER):
            yield line.rstrip()


def sentence(text: str) -> str:
    """What a text says that is neither list nor tree, in one line, without the notice above it."""
    kept, notice = [], False
    for line in _lines(text):
        if _RULE.fullmatch(line.strip()):
            notice = not notice and "공지" in line
        elif not notice:
            kept.append(line)
    return in_words(" ".join(kept))


def not_there(text: str) -> bool:
    """Whether a sentence says that a file, or a page, does not exist. Said of data set -1 it means that the key is fine."""
    return _NOT_THERE.search(sentence(text)) is not None


def of_the_key(text: str) -> bool:
    """Whether a sentence is about the key rather than about one data set's terms."""
    return _OF_THE_KEY.search(sentence(text)) is not None


def in_korean(text: str) -> bool:
    """Whether a text may be AI Hub's own: a gateway's is in English."""
    return re.search(r"[가-힣]", text) is not None


def begun(text: str) -> bool:
    """Whether a list or a tree begins in the text."""
    return _BEGUN.search(text) is not None


def looked(response: Response) -> str:
    """The text of a body as far as it is seen; of a longer one its first and last whole lines."""
    if response.length <= len(response.head):
        return decoded(response.head)
    return decoded(response.head[: response.head.rfind(b"\n") + 1] + response.tail[response.tail.find(b"\n") + 1 :])


def data_sets(text: str) -> list[tuple[str, str]] | None:
    """Key and name of every data set, in the list's order; None where the text is no list, or one that no rule closes.

    The notice above the list stands between rules of its own, and is none of it.
    """
    found: list[tuple[str, str]] = []
    notice = closed = False
    for line in _lines(text):
        closed = _RULE.fullmatch(line.strip()) is not None
        if closed:
            notice = not notice and "공지" in line
        elif not notice and (entry := _ENTRY.fullmatch(line.strip())) is not None:
            found.append((entry[1], entry[2]))
    return found if found and closed else None


def files_of(text: str) -> list[Leaf] | None:
    """The files of a drawn tree, in its order; None where the text is no tree, or one whose drawing does not end.

    A branch stands under the last one that begins further left. A drawing ends with a file below which no line leads further.
    """
    found: list[Leaf] = []
    above: list[tuple[int, str]] = []
    open_below = True
    for line in _lines(text):
        branch = _BRANCH.fullmatch(line)
        if branch is None:
            if _LEAF.fullmatch(line):  # a file that hangs nowhere: a name that was broken in two
                return None
            continue
        lines, mark, what = branch.groups()
        above = [folder for folder in above if folder[0] < len(lines)]
        leaf = _LEAF.fullmatch(what)
        open_below = leaf is None or "│" in lines or mark.startswith("├")
        if leaf is None:
            above = [*above, (len(lines), what.strip("/"))][:_MOST_DEPTH]
        else:
            size = f"{leaf[2]} {leaf[3].upper()}B"
            found.append(Leaf("/".join([*(name for _, name in above), leaf[1]]), size, leaf[4]))
    return found if found and not open_below else None
