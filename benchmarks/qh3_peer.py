"""One file by QUIC, as qh3 sends it: ``qh3_peer.py serve|fetch FOLDER PORT SIZE DATAGRAM``, run by `peers`.

FOLDER has ``key`` and ``certificate``.  The client asks on one stream and counts what comes; its clock runs from the
question to the last byte, on a connection that is there already.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time

from qh3.asyncio import QuicConnectionProtocol, connect, serve
from qh3.quic.configuration import QuicConfiguration

PIECE = 1 << 20


def configuration(client: bool, datagram: int) -> QuicConfiguration:
    """Windows that do not limit, and no datagram larger than asked."""
    made = QuicConfiguration(is_client=client, alpn_protocols=["hq-interop"])
    made.max_data = made.max_stream_data = 64 << 20
    if hasattr(made, "max_datagram_size"):
        made.max_datagram_size = datagram
    return made


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, size: int) -> None:
    """Send so many bytes to who has asked."""
    await reader.readline()
    piece, left = bytes(PIECE), size
    while left:
        writer.write(piece[:left])
        left -= min(left, PIECE)
        await asyncio.sleep(0)
    writer.write_eof()


async def serving(folder: str, port: int, size: int, datagram: int) -> None:
    """Be the server, until ended."""
    settings = configuration(False, datagram)
    settings.load_cert_chain(f"{folder}/certificate", f"{folder}/key")
    asked = set()

    def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.add(asyncio.ensure_future(answer(reader, writer, size)))

    await serve("127.0.0.1", port, configuration=settings, stream_handler=handler)
    await asyncio.Event().wait()


async def fetching(port: int, size: int, datagram: int) -> float:
    """Be the client; return the seconds that it took."""
    settings = configuration(True, datagram)
    settings.verify_mode = ssl.CERT_NONE
    async with connect(
        "127.0.0.1", port, configuration=settings, create_protocol=QuicConnectionProtocol
    ) as protocol:
        reader, writer = await protocol.create_stream()
        start = time.perf_counter()
        writer.write(b"give\n")
        left = size
        while left:
            data = await reader.read(PIECE)
            if not data:
                raise EOFError(f"{left} bytes are missing")
            left -= len(data)
        return time.perf_counter() - start


def main() -> None:
    role, folder, port, size, datagram = sys.argv[1:]
    if role == "serve":
        asyncio.run(serving(folder, int(port), int(size), int(datagram)))
    else:
        time.sleep(1)  # for the server to begin
        seconds = asyncio.run(fetching(int(port), int(size), int(datagram)))
        print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
