"""A line to the engine that can be cut: what it looks like when the engine goes away."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


class Wire:
    """A line from one socket to another."""

    def __init__(self, path: Path, target: str) -> None:
        self.path, self.target = path, target
        self.server: asyncio.Server | None = None
        self.writers: set[asyncio.StreamWriter] = set()

    async def mend(self) -> None:
        self.path.unlink(missing_ok=True)
        self.server = await asyncio.start_unix_server(self._serve, self.path)

    async def cut(self) -> None:
        if self.server is not None:
            self.server.close()
        self.server = None
        self.path.unlink(missing_ok=True)
        for writer in list(self.writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        laid = self.server
        far_reader, far_writer = await asyncio.open_unix_connection(self.target)
        self.writers |= {writer, far_writer}
        try:
            if laid is None or laid is not self.server:
                # Cut while it was being connected: nobody else would know of this line.
                writer.transport.abort()
                far_writer.transport.abort()
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        finally:
            self.writers -= {writer, far_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()


@contextmanager
def wire_in_a_thread(path: Path, target: str) -> Iterator[Callable[[str], None]]:
    """A line that is there; ``cut`` and ``mend`` are done when told."""
    loop = asyncio.new_event_loop()
    serving = threading.Thread(target=loop.run_forever)
    serving.start()
    line = Wire(path, target)

    def do(what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, loop).result(60)

    async def end() -> None:
        await line.cut()
        serving = asyncio.all_tasks() - {asyncio.current_task()}
        if serving:
            await asyncio.wait(serving, timeout=10)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await asyncio.sleep(0.1)  # for the transports to close

    try:
        do(line.mend())
        yield lambda what: do(getattr(line, what)())
    finally:
        do(end())
        loop.call_soon_threadsafe(loop.stop)
        serving.join()
        loop.close()
