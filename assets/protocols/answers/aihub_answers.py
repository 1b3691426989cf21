"""What AI Hub's answers mean once they are text, or a tar: the body decides, since 502 is its usual status (protocols.md 1.1, 2.8).

Pure. How its lists and trees are written is `aihub_texts.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from assets.protocols.answers.aihub_texts import begun, bounds, data_sets, files_of, in_korean, not_there, of_the_key, sentence
from assets.protocols.kernel import AuthFailed, Gone, Malformed, Ok, Outcome, Transient
from assets.tables.readers.tar_parts import ends

if TYPE_CHECKING:
    from assets.protocols.aihub import AihubSource


def by_text(asked: str, text: str) -> Outcome:
    """A list or a tree, whole, or the sentence in its place. `asked`: list or tree."""
    if (data_sets(text) if asked == "list" else files_of(text)) is not None:
        return Ok()
    if begun(text):
        return Transient(f"the {asked} is cut off: it does not end as one does")
    return Gone(sentence(text)) if not_there(text) else Malformed(f"no {asked}: {sentence(text)}")


def by_sentence(asked: str, text: str, source: AihubSource) -> Outcome:
    """The sentence about a key, or in place of a file. `asked`: key or file."""
    said, missing = sentence(text), not_there(text)
    if not in_korean(text):
        return Malformed(f"neither a file nor a sentence of AI Hub's: {said}")
    if of_the_key(text) and not missing:
        return AuthFailed(f"AI Hub refuses the key: {said}")
    if asked == "key":  # refused only where it says so: what it says of a data set that is none is no concern
        return Ok()
    if missing:
        return Gone(f"the key is fine, but the file is not there: {said}")
    mend = f"log in with the account whose key {source.auth.secret} holds, open {source.form}, accept the terms, wait for approval"
    return AuthFailed(f"the terms of data set {source.dataset} are not accepted: {said}", mend=mend)


def by_tar(size: str, tail: bytes, length: int) -> Outcome:
    """A tar, as far as its end and its length tell. `size`: of the file in it, as the tree says it."""
    if not ends(tail, length):
        return Transient("the tar does not end: it is cut off")
    if length < bounds(size)[0]:
        return Malformed(f"a tar of {length:,} bytes, where the tree says {size}")
    return Ok()
