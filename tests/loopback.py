"""A real HTTP/1.1 server on loopback whose every byte the test decides: cuts, lies and echoes included."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Seen:
    """One request as it came in."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


@dataclass(frozen=True)
class Answer:
    """One answer. `send`: how many bytes of the body really leave before the connection closes (None: all).

    `pause_at`: after so many bytes of the body the rest comes in a packet of its own.
    `framed`: False sends the body without any framing header of ours; the test gives its own.
    """

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    send: int | None = None
    chunked: bool = False
    delay_s: float = 0.0
    framed: bool = True
    pause_at: int = 0


@dataclass
class Loopback:
    """`answer` decides; `seen` remembers every request; `url` is where it listens.

    `gate`: passed before an answer leaves. `most`: requests that were open at once; one that the client drops stays open until its
    answer would have been sent, and counts as `dropped`.
    """

    answer: Callable[[Seen], Answer]
    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    gate: Callable[[Seen], Awaitable[None]] | None = None
    open: int = 0
    most: int = 0
    dropped: int = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                method, target, _ = line.decode("latin-1").split(" ", 2)
                headers: dict[str, str] = {}
                while (raw := await reader.readline()) not in (b"\r\n", b""):
                    name, _, value = raw.decode("latin-1").partition(":")
                    headers[name.strip().lower()] = value.strip()
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.seen.append(Seen(method, target, headers, body))
                self.open += 1
                self.most = max(self.most, self.open)
                try:
                    answer = self.answer(seen := self.seen[-1])
                    if self.gate is not None:
                        await self.gate(seen)
                    if not await self._answer(answer, writer):
                        break
                finally:
                    self.open -= 1
                    self.dropped += reader.at_eof()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, answer: Answer, writer: asyncio.StreamWriter) -> bool:
        """Write one answer. Returns whether the connection stays open."""
        await asyncio.sleep(answer.delay_s)
        given = {n.lower() for n in answer.headers}
        head = [f"HTTP/1.1 {answer.status} X", *(f"{n}: {v}" for n, v in answer.headers.items())]
        if answer.chunked:
            head.append("Transfer-Encoding: chunked")
        elif answer.framed and "content-length" not in given and answer.status not in (204, 304):
            head.append(f"Content-Length: {len(answer.body)}")
        writer.write(("\r\n".join(head) + "\r\n\r\n").encode("latin-1"))
        sent = answer.body if answer.send is None else answer.body[: answer.send]
        if answer.chunked:
            if sent:
                writer.write(f"{len(sent):x}\r\n".encode() + sent + b"\r\n")
            if answer.send is None:
                writer.write(b"0\r\n\r\n")
        else:
            writer.write(sent[: answer.pause_at])
            if answer.pause_at:
                await writer.drain()
                await asyncio.sleep(0.05)
            writer.write(sent[answer.pause_at :])
        await writer.drain()
        return answer.send is None


@asynccontextmanager
async def loopback(answer: Callable[[Seen], Answer], tls: ssl.SSLContext | None = None) -> AsyncIterator[Loopback]:
    """Serve `answer` on a free port of 127.0.0.1, over TLS where a context is given."""
    it = Loopback(answer)
    server = await asyncio.start_server(it._serve, "127.0.0.1", 0, ssl=tls)
    it.url = f"http{'s' * (tls is not None)}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield it
    finally:
        server.close()
