"""A page typed by somebody who follows it: its blocks in order, in one shell, in a folder with a home that the demo filled."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tests.docs.pages import Block

WAIT_FOR_PORT = "for n in $(seq 300); do (exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null && break; sleep 0.2; done"
RUN = ("sh", "python")
TIMEOUT_S = 600


class Stopped(AssertionError):
    """A block did not end as its page says."""


def is_run(block: Block) -> bool:
    return block.directive == "file" or (block.language in RUN and block.directive != "not run")


def type_page(blocks: tuple[Block, ...], folder: Path, env: Mapping[str, str], without: frozenset[str]) -> dict[int, str]:
    """Run the blocks in `folder` and return what each printed, by its line. `without`: keys whose blocks are left out.

    A page names the ports that it serves on; here each is a free one, in the blocks, and in what they print the page's own.
    Raises Stopped at the first block that ends otherwise than the page says.
    """
    ports = {block.argument: str(free_port()) for block in blocks if block.directive == "serves"}
    scripts = folder / ".blocks"
    scripts.mkdir()
    script = ["exec 2>&1"]
    typed = [b for b in blocks if is_run(b) and not (b.directive == "needs" and b.argument in without)]
    for block in typed:
        path = scripts / f"{block.line}.{block.language or 'txt'}"
        path.write_text(_exchanged(block.text, ports), encoding="utf-8")
        script += [f"printf '\\n@@ begin {block.line}\\n'", *_typed(block, path, ports), f"printf '\\n@@ end {block.line}\\n'"]
    # Into a file: a pipe would stay open as long as what a page serves.
    log = scripts / "printed"
    with log.open("w") as out:
        process = subprocess.Popen(
            ["bash", "-c", "\n".join(script)],
            cwd=folder,
            env={**env, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            stdin=subprocess.DEVNULL,
            stdout=out,
            start_new_session=True,
        )
        try:
            process.wait(timeout=TIMEOUT_S)
        finally:
            with suppress(ProcessLookupError):  # nothing served, so nothing is left
                os.killpg(process.pid, signal.SIGKILL)
    printed = _exchanged(log.read_text(encoding="utf-8"), {free: own for own, free in ports.items()})
    outputs = {int(line): text for line, text in re.findall(r"^@@ begin (\d+)\n(.*?)\n@@ end \1$", printed, re.M | re.S)}
    for block in typed:
        if block.line not in outputs:
            raise Stopped(f"{block.name} did not end as the page says:\n{block.text}\n{printed[-4000:]}")
    return outputs


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def _exchanged(text: str, ports: Mapping[str, str]) -> str:
    for port, other in ports.items():
        text = re.sub(rf"(?<![\d.]){port}(?![\d.])", other, text)
    return text


def _typed(block: Block, path: Path, ports: Mapping[str, str]) -> list[str]:
    """The lines of the shell for one block. A block that serves leaves its output, or the shell would wait for it."""
    quoted = shlex.quote(str(path))
    if block.directive == "file":
        target = shlex.quote(block.argument)
        return [f"mkdir -p $(dirname {target}) && cp {quoted} {target} || exit 1"]
    if block.directive == "serves":
        return [f". {quoted} > {quoted}.log 2>&1 &", WAIT_FOR_PORT.format(port=ports[block.argument])]
    if block.directive == "exits":
        return [f". {quoted}", f'[ "$?" -eq {int(block.argument)} ] || exit 1']
    if block.language == "python":
        return [f"python {quoted} || exit 1"]
    return ["set -e", f". {quoted}", "set +e"]


def comparable(text: str, folder: Path) -> list[str]:
    """The lines that matter, without what differs from run to run: times, ids, the folder, the width of columns."""
    text = text.replace(f"{folder}/", "")
    for pattern, word in (
        (r"/\d{4}/\d{2}/(?=\d{8}T)", "/YEAR/MONTH/"),
        (r"\d{8}T\d{6}Z-[0-9a-f]{8}", "FETCH"),
        (r"\d{2}-\d{2} \d{2}:\d{2} (?=[A-Z]{3})", "WHEN "),
        (r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?Z?", "TIME"),
        (r"\b\d+\.\d s\b", "SECONDS"),
        (r"\b[0-9a-f]{12,}\b", "HEX"),
    ):
        text = re.sub(pattern, word, text)
    lines = [re.sub(r"[\s─]+", " ", line).strip() for line in text.splitlines()]
    return [line for line in lines if line]


def differs(expected: str, printed: str, folder: Path) -> str:
    """'' where the page shows what was printed; `…` on a line of its own stands for any lines."""
    want, got = comparable(expected, folder), comparable(printed, folder)
    place = 0
    for number, line in enumerate(want):
        if line == "…":
            if number + 1 == len(want):
                return ""
            while place < len(got) and got[place] != want[number + 1]:
                place += 1
            continue
        if place >= len(got) or got[place] != line:
            return f"the page shows {line!r}, printed was {got[place] if place < len(got) else 'nothing more'!r}"
        place += 1
    return "" if place == len(got) else f"printed as well: {got[place]!r}"
