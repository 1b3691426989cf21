"""Names for columns, from the agency's headers: lower-case ASCII words. Korean is written in Latin letters, never translated.

A proposal: the person who declares the feed may name things better. Pure.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

LONGEST = 60
_INITIALS = "g kk n d tt r m b pp s ss - j jj ch k t p h".replace("-", "").split(" ")
_VOWELS = "a ae ya yae eo e yeo ye o wa wae oe yo u wo we wi yu eu ui i-".replace("-", "").split(" ")
_FINALS = "- k k k n n n t l k m l l l p l m p p t t ng t t k t p t".replace("-", "").split(" ")
"""The letters of a syllable block in Unicode's order."""


def romanised(text: str) -> str:
    """Hangul syllable by syllable in the Revised Romanization of 2000, without its sound changes between syllables."""
    out = []
    for letter in unicodedata.normalize("NFC", text):
        place = ord(letter) - 0xAC00
        if 0 <= place < 11172:
            out.append(_INITIALS[place // 588] + _VOWELS[place // 28 % 21] + _FINALS[place % 28])
        else:
            out.append(letter)
    return "".join(out)


def column_name(source: str) -> str:
    """A valid column name for one header: 'properties.mag' → mag, 'PM10 Value' → pm10_value, '대출권수' → daechulgwonsu."""
    last = source.rsplit(".", 1)[-1] if re.fullmatch(r"[\w.]+", source) else source
    text = re.sub(r"\([^)]*\)|\[[^\]]*\]", " ", last)  # units in brackets
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", romanised(text))
    ascii_ = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = re.sub(r"[^a-z0-9]+", "_", ascii_.lower()).strip("_")[:LONGEST].strip("_")
    return name if re.match(r"[a-z]", name) else f"c_{name}".rstrip("_") if name else "column"


def column_names(sources: Iterable[str]) -> dict[str, str]:
    """Header → name; names that come twice are numbered, and none ends as the column of another's null markers does."""
    found: dict[str, str] = {}
    for source in sources:
        name = column_name(source)
        taken = set(found.values())
        number, unique = 2, name
        while unique in taken or (unique.endswith("_status") and unique.removesuffix("_status") in taken):
            unique, number = f"{name[: LONGEST - 4]}_{number}", number + 1
        found[source] = unique
    return found
