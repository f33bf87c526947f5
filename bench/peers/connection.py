"""HTTP/1.1 with keep-alive and little else: the load must cost less than what it measures."""

import asyncio
import contextlib


class Connections:
    """Lends a connection to each request; as many are open as requests were ever in flight."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def request(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Return status and body. Raises OSError or asyncio.IncompleteReadError when the server goes away."""
        reader, writer = self._free.pop() if self._free else await asyncio.open_connection("127.0.0.1", self._port)
        kind = "content-type: application/json\r\n" if body else ""
        head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\n{kind}content-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        content = await _content(reader, answer)
        self._free.append((reader, writer))
        return int(answer[9:12]), content

    async def close(self) -> None:
        for _, writer in self._free:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def _content(reader: asyncio.StreamReader, head: bytes) -> bytes:
    if (at := head.find(b"content-length:")) >= 0:
        return await reader.readexactly(int(head[at + 15 : head.index(b"\r\n", at)]))
    if b"transfer-encoding: chunked" not in head:
        return b""
    content = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        content += (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)
    return content
