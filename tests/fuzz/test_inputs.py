"""Whatever comes in from outside ends in a value or in its own error: no crash, no hang, no memory without bound.

Each example is a seed from which hundreds of inputs are made; `make fuzz` runs more than a million of them.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import schemas
from config import ConfigurationError, load_settings
from stream import letters
from stream.admin import AdminServer, application
from stream.codec import Decoder, Encoder, Framing
from stream.errors import DecodeError, RecordError
from stream.metrics import StageMetrics
from stream.publishing import generate
from tests.unit.test_codec import learned
from tests.unit.test_http_guard import Desk

EXAMPLES = int(os.environ.get("CLAIMSTREAM_FUZZ_EXAMPLES", "12"))
GROWTH = 300_000_000
LENGTHS = [
    b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x80\x80\x80\x80\x10",
    b"\xff\xff\x07",
    b"\x01",
    b"\x7f",
]

seeds = given(seed=st.integers(0, 2**32 - 1))
many = settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True, scope="module")
def bounded_memory() -> Iterator[None]:
    process = psutil.Process()
    before = process.memory_info().rss
    yield
    assert process.memory_info().rss - before < GROWTH


def mutated(rng: random.Random, value: bytes, parts: list[bytes]) -> bytes:
    """A few changes of the kinds that storage, networks, other writers and foes make."""
    data = bytearray(value)
    for _ in range(rng.randint(1, 4)):
        place = rng.randint(0, len(data))
        match rng.randint(0, 6):
            case 0:
                del data[place:]
            case 1 if data:
                data[place % len(data)] ^= 1 << rng.randint(0, 7)
            case 2:
                data[place:place] = rng.choice(parts)
            case 3:
                data[place : place + rng.randint(1, 9)] = rng.choice(parts)
            case 4:
                data += rng.randbytes(rng.randint(1, 40))
            case 5:
                data[place:place] = data[: rng.randint(0, 60)]
            case _:
                data = bytearray(rng.randbytes(rng.randint(0, 30)))
    return bytes(data)


class OneSchema:
    """A registry that knows one schema, as id 1 and every even one."""

    def schema(self, schema_id: int) -> dict[str, Any]:
        if schema_id % 2 and schema_id != 1:
            raise DecodeError(f"no schema {schema_id}")
        return schemas.load("claim_event")


def framed(framing: Framing) -> list[bytes]:
    (batch,) = generate(40, 3)
    return Encoder(schemas.load("claim_event"), framing, 1).encode(batch)


CLAIMS = {framing: framed(framing) for framing in Framing}
DECODERS = {
    "single": Decoder(schemas.load("claim_event"), max_record_bytes=10_000),
    "bare": Decoder(schemas.load("claim_event"), bare_schema=schemas.load("claim_event")),
    "registry": Decoder(
        schemas.load("claim_event"),
        registry=learned(OneSchema()),
    ),
}


@many
@seeds
def test_values(seed: int) -> None:
    rng = random.Random(seed)
    values: list[bytes | None] = []
    for _ in range(200):
        claim = rng.choice(CLAIMS[rng.choice([*Framing])])
        values.append(claim if rng.random() < 0.5 else mutated(rng, claim, LENGTHS))
    values[rng.randrange(200)] = None
    for decoder in DECODERS.values():
        decoder.learn(values)
        decoded = decoder.decode(values)
        failed = [failure.row for failure in decoded.failures]
        assert sorted([*decoded.rows.tolist(), *failed]) == list(range(200))
        assert decoded.claims.num_rows == len(decoded.rows)
        assert all(isinstance(failure.error, RecordError) for failure in decoded.failures)
        assert all(len(str(failure.error)) < 2_000 for failure in decoded.failures)


@many
@seeds
def test_headers(seed: int) -> None:
    rng = random.Random(seed)
    reason = letters.Reason("DecodeError", "no", "claims", 3, 17)
    names = [name for name, _ in reason.headers()] + [letters.REPLAY_OF, letters.REPLAYED, "x", ""]
    for _ in range(300):
        headers = [*reason.headers()] if rng.random() < 0.5 else []
        for _ in range(rng.randint(0, 5)):
            value = mutated(rng, b"17", [b"-1", b"9" * 30, b"\xff", b"\x00", "٣".encode()])
            headers.insert(rng.randint(0, len(headers)), (rng.choice(names), rng.choice([value, None])))
        read = letters.read(headers)
        assert 1 <= letters.attempt_of(headers) <= 10**6
        if read is not None:
            own, found = read
            again = letters.replayed(own, found, "dead[0]@1")
            assert letters.attempt_of(again) == min(found.attempt + 1, 10**6)
            assert letters.read([*own, *found.headers()]) is not None


SHIPPED = Path("config/stream.yaml").read_text(encoding="utf-8").replace("# ", "").encode()
YAML = [
    b"{",
    b"]",
    b"&a",
    b"*a",
    b"!!python/object/apply:os.system [exit]",
    b"? ",
    b"\t",
    b"1e999",
    b"<<: *a",
    b"\x00",
]


@many
@seeds
def test_configuration(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    rng = random.Random(seed)
    file = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    lines = SHIPPED.splitlines()
    for _ in range(20):
        start = rng.randrange(len(lines))
        file.write_bytes(mutated(rng, b"\n".join(lines[start : start + rng.randint(1, 12)]), YAML))
        environ = {
            f"CLAIMSTREAM_{rng.choice(['HTTP__PORT', 'X', 'LIMITS__', '__'])}": rng.choice(
                ["1", "", "{", "é"]
            )
        }
        with suppress(ConfigurationError):
            load_settings(file, environ if rng.random() < 0.3 else {}, {})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    app = application(StageMetrics().snapshot, str, lambda: True, Desk(), dict, "a-token")
    server = AdminServer(app, "127.0.0.1", 0)
    server.start()
    yield int(server.address.rpartition(":")[2])
    server.stop()


REQUESTS = [
    b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n",
    b"POST /ml/cache/evict HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a-token\r\nContent-Length: 17\r\n\r\n"
    b'{"models": ["a"]}',
    b'POST /ml/cache/preload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"mod\r\n0\r\n\r\n',
]
HTTP = [
    b"\r\n",
    b"\r\n\r\n",
    b": ",
    b"%00%ff",
    b"../",
    b"HTTP/9.9",
    b"ffffffffffffffff\r\n",
    b"\x00",
    b"Content-Length: -1\r\n",
]


@many
@seeds
def test_requests(seed: int, port: int) -> None:
    rng = random.Random(seed)
    for _ in range(10):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            client.sendall(mutated(rng, rng.choice(REQUESTS), HTTP))
            client.shutdown(socket.SHUT_WR)
            answered = _all_of(client)
            assert answered == b"" or answered.startswith(b"HTTP/1.1 ")
            assert not answered.startswith(b"HTTP/1.1 500")
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(REQUESTS[0])
        assert client.recv(100).startswith(b"HTTP/1.1 200")


def _all_of(client: socket.socket) -> bytes:
    try:
        return b"".join(iter(lambda: client.recv(65_536), b""))
    except ConnectionResetError:
        return b""
