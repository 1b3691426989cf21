"""The typing of pages notices what is wrong: a page that lies must not pass."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from tests.docs.pages import Block, blocks
from tests.docs.running import Stopped, differs, free_port, type_page

PAGE = """\
Make it.

<!-- file: here/note.txt -->
```text
words
```

```sh
export WORD=kept
cat here/note.txt
```

<!-- serves: {port} -->
```sh
python3 -m http.server --bind 127.0.0.1 {port}
```

<!-- exits 3 -->
```sh
echo "$WORD"
(exit 3)
```

```python
print("from Python")
```

<!-- not run: it would fail -->
```sh
false
```
"""


def page(folder: Path, text: str) -> tuple[Block, ...]:
    path = folder / f"{time.monotonic_ns()}.md"
    path.write_text(text, encoding="utf-8")
    return blocks(path)


def typed(folder: Path, text: str) -> list[str]:
    (folder / "reader").mkdir()
    return list(type_page(page(folder, text), folder / "reader", dict(os.environ), frozenset()).values())


def test_blocks_run_in_order_in_one_shell(tmp_path: Path) -> None:
    printed = typed(tmp_path, PAGE.format(port=free_port()))
    assert [text.strip() for text in printed] == ["", "words", "", "kept", "from Python"]


def test_a_page_is_typed_while_somebody_else_has_its_port(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        text = f"<!-- serves: {port} -->\n```sh\npython3 -m http.server --bind 127.0.0.1 {port}\n```\n"
        answered = "import urllib.request as r\n"
        answered += f"print('{port}', r.urlopen('http://127.0.0.1:{port}/').status)\n"
        printed = typed(tmp_path, f"{text}\n```python\n{answered}```\n")
    assert printed[1].split() == [str(port), "200"]


@pytest.mark.parametrize(
    "text",
    [
        "```sh\nfalse\n```\n",
        "```sh\nno-such-command | cat\nfalse\ntrue\n```\n",
        "<!-- exits 1 -->\n```sh\ntrue\n```\n",
        "```python\nraise SystemExit(1)\n```\n",
    ],
)
def test_a_block_that_ends_otherwise_stops_the_page(text: str, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        typed(tmp_path, text)


def test_what_differs_from_run_to_run_is_not_compared() -> None:
    here = Path("/somewhere/here")
    assert not differs("a   b 12-05 03:30 KST\n", "/somewhere/here/a b 01-05 03:30 KST\n", Path("/somewhere/here"))
    assert not differs("x/2026/11/20261123T012954Z-8871b07e.warc.gz", "x/2027/01/20270101T000000Z-00000000.warc.gz", here)
    assert not differs("first\n…\nlast", "first\nmore\neven more\nlast", here)
    assert not differs("first\n…", "first\nanything", here)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [("7 accepted", "8 accepted"), ("one\ntwo", "one"), ("one", "one\ntwo"), ("first\n…\nlast", "first\nother"), ("a", "")],
)
def test_what_differs_is_said(shown: str, printed: str) -> None:
    assert differs(shown, printed, Path("/somewhere"))
