"""A TCP proxy before a broker that reads the frames of Kafka's protocol and can lose the answer to a chosen request."""

from __future__ import annotations

import asyncio
import struct
import threading
from collections import Counter
from contextlib import suppress
from enum import IntEnum

_START_SECONDS = 10.0
_LOST = (asyncio.IncompleteReadError, ConnectionError, OSError)


class Api(IntEnum):
    """Keys of requests."""

    PRODUCE = 0
    OFFSET_COMMIT = 8
    INIT_PRODUCER_ID = 22
    ADD_OFFSETS_TO_TXN = 25
    END_TXN = 26
    TXN_OFFSET_COMMIT = 28


class KafkaProxy:
    """Listens on `port` for clients of the broker at `upstream`. An answer is lost with its connection."""

    def __init__(self, port: int, upstream: int) -> None:
        self.port = port
        self._upstream = upstream
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._ready = threading.Event()
        self._to_lose: Counter[int] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        # Answers that were lost so far.
        self.lost = 0

    def start(self) -> None:
        """Raises RuntimeError when the port cannot be used."""
        self._thread.start()
        if not self._ready.wait(_START_SECONDS):
            raise RuntimeError(f"the proxy does not listen on port {self.port}")

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_START_SECONDS)

    def lose_answer(self, api: Api, count: int = 1) -> None:
        """The next answers to such requests do not arrive, though the broker did what was asked."""
        self._to_lose[api] += count

    def forgive(self) -> None:
        """Lose nothing more."""
        self._to_lose.clear()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", self.port))
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _serve(self, client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        try:
            broker, requests = await asyncio.open_connection("127.0.0.1", self._upstream)
        except OSError:
            answers.close()
            return
        asked: dict[int, int] = {}
        halves = [
            asyncio.ensure_future(self._requests(client, requests, asked)),
            asyncio.ensure_future(self._answers(broker, answers, asked)),
        ]
        await asyncio.wait(halves, return_when=asyncio.FIRST_COMPLETED)
        for half in halves:
            half.cancel()
        for writer in (requests, answers):
            with suppress(*_LOST):
                writer.close()

    async def _requests(
        self, client: asyncio.StreamReader, broker: asyncio.StreamWriter, asked: dict[int, int]
    ) -> None:
        with suppress(*_LOST):
            while True:
                frame = await _frame(client)
                api, _, number = struct.unpack_from(">hhi", frame, 4)
                asked[number] = api
                broker.write(frame)
                await broker.drain()

    async def _answers(
        self, broker: asyncio.StreamReader, client: asyncio.StreamWriter, asked: dict[int, int]
    ) -> None:
        with suppress(*_LOST):
            while True:
                frame = await _frame(broker)
                (number,) = struct.unpack_from(">i", frame, 4)
                api = asked.pop(number, -1)
                if self._to_lose[api] > 0:
                    self._to_lose[api] -= 1
                    self.lost += 1
                    return
                client.write(frame)
                await client.drain()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    """One message with its length before it."""
    head = await reader.readexactly(4)
    (size,) = struct.unpack(">i", head)
    return head + await reader.readexactly(size)
