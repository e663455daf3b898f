"""TLS and SCRAM to a real broker: who may comes in, who may not is told why, and no secret is told to anybody."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from stream.audit import Topics
from stream.cli.main import run
from stream.embedded import EmbeddedKafka
from stream.embedded.properties import Security
from stream.topics import ensure_topics, stage_topics
from tests.certificates import Authority
from tests.stage import await_that, check, publish, stage

pytestmark = pytest.mark.slow

PASSWORD = "Pa55-of-the-stage"
TOKEN = "T0ken-of-the-endpoints"
TOPICS = Topics("claims", "claim-scores", "claim-dead-letters")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def broker(place: Path) -> Iterator[EmbeddedKafka]:
    certificate = Authority(place).certificate("broker")
    with EmbeddedKafka(security=Security(certificate, {"claimstream": PASSWORD})) as started:
        client = {"bootstrap.servers": started.bootstrap}
        ensure_topics(client, stage_topics(TOPICS.claims, TOPICS.scores, TOPICS.dead_letters, 2, 1))
        yield started


def options(place: Path, **changes: str) -> dict[str, str]:
    return {
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": str(place / "authority.pem"),
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "claimstream",
        "sasl.password": PASSWORD,
    } | changes


def command(broker: EmbeddedKafka, client: dict[str, str], *arguments: str) -> tuple[int, str]:
    given = [text for name, value in client.items() for text in ("--client", f"{name}={value}")]
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out):
        code = run([*arguments, "--bootstrap", broker.secure_bootstrap, *given])
    return code, out.getvalue()


def test_the_stage_and_the_commands_work_with_tls_and_a_password_that_nobody_reads(
    broker: EmbeddedKafka, place: Path
) -> None:
    publish(broker.bootstrap, TOPICS.claims, 300)
    client = options(place)
    environment = {
        f"CLAIMSTREAM_KAFKA__CLIENT__{name.upper().replace('.', '_')}": value
        for name, value in client.items()
    }
    more = {"CLAIMSTREAM_HTTP__TOKEN": TOKEN, "CLAIMSTREAM_LOGGING__LEVEL": "debug"}
    with stage(broker.secure_bootstrap, TOPICS, **environment, **more) as running:
        await_that(lambda: running.delivered() == 300)
        pages = [running.get(path)[1] for path in ("/metrics", "/ml/batching", "/ml/cache/status", "/readyz")]
        assert running.order("preload", ["no-such-model"], TOKEN)[0] == 409
        pages.append(json.dumps(running.order("preload", ["no-such-model"], "wrong")[1]))
        assert running.stop() == 0
        pages.append(running.said())
    assert check(broker, TOPICS).sound
    for arguments in (
        ("audit", TOPICS.claims, TOPICS.scores, "--json"),
        ("dlq", "list", "--json"),
        ("dlq", "replay", "--all", "--json"),
        ("tail", "--from-beginning", "--count", "1"),
        ("publish", "--generate", "5"),
    ):
        code, said = command(broker, client, *arguments)
        assert code == 0, said
        pages.append(said)
    assert not [page for page in pages if PASSWORD in page or TOKEN in page]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sasl.password": "Wr0ng-password"}, "Authentication failed"),
        ({"sasl.username": "somebody"}, "Authentication failed"),
        ({"ssl.ca.location": "another.pem"}, "certificate verify failed"),
        ({"security.protocol": "SASL_PLAINTEXT"}, "no Kafka broker answers"),
    ],
)
def test_who_may_not_is_told_why_without_the_password(
    broker: EmbeddedKafka, place: Path, changes: dict[str, Any], said: str
) -> None:
    if "ssl.ca.location" in changes:
        changes = {"ssl.ca.location": str(Authority(place, "another").file)}
    client = options(place, **changes)
    code, text = command(broker, client, "audit", TOPICS.claims, TOPICS.scores)
    assert (code, said in text) == (1, True), text
    assert client["sasl.password"] not in text
