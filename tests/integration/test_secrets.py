"""Secrets stay where they were put: no log, page, error or `config check` repeats them."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from stream.audit import Topics
from stream.cli.main import run
from tests.stage import stage

SECRETS = {
    "CLAIMSTREAM_KAFKA__CLIENT__SASL_PASSWORD": "sasl-Pa55",
    "CLAIMSTREAM_KAFKA__CLIENT__SSL_KEY_PASSWORD": "key-Pa55",
    "CLAIMSTREAM_KAFKA__PRODUCER__SASL_OAUTHBEARER_CLIENT_SECRET": "oauth-Pa55",
    "CLAIMSTREAM_SCHEMAS__REGISTRY__BASIC_AUTH_USER_INFO": "someone:registry-Pa55",
    "CLAIMSTREAM_CACHE__REDIS_URL": "redis://:redis-Pa55@127.0.0.1:1/0",
    "CLAIMSTREAM_HTTP__TOKEN": "token-Pa55",
}
NEVER = "-Pa55"


def said(*arguments: str) -> str:
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out):
        run(arguments)
    return out.getvalue()


def test_a_stage_that_logs_all_it_can_tells_no_secret() -> None:
    plain = {
        "CLAIMSTREAM_KAFKA__CLIENT__SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "CLAIMSTREAM_LOGGING__LEVEL": "debug",
    }
    more = {"CLAIMSTREAM_KAFKA__CLIENT__SASL_MECHANISM": "PLAIN", "CLAIMSTREAM_KAFKA__CLIENT__DEBUG": "all"}
    user = {"CLAIMSTREAM_KAFKA__CLIENT__SASL_USERNAME": "someone"}
    with stage("127.0.0.1:1", Topics("a", "b", "c"), **SECRETS, **plain, **more, **user) as running:
        assert running.process.stderr is not None
        lines = []
        for line in running.process.stderr:
            lines.append(line.decode())
            if "next try in" in lines[-1]:
                break
        assert running.stop() == 0
        lines.append(running.said())
    assert "no Kafka broker answers" in "".join(lines)
    assert NEVER not in "".join(lines)


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_config_check_masks_every_secret(monkeypatch: pytest.MonkeyPatch, form: list[str]) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    text = said("config", "check", *form)
    assert NEVER not in text
    assert text.count("********") >= len(SECRETS)


@pytest.mark.parametrize(
    "line",
    [
        "kafka: {client: {sasl.passwrod: s-Pa55}}",
        "kafka: {client: {sasl.password: [s-Pa55]}}",
        "kafka: {clients: {sasl.password: s-Pa55}}",
        "cache: {redis_url: 'redis://:s-Pa55@host:port'}\nbatching: {size_min: x}",
        "http: {token: -Pa55}",
        "http: {tokn: 's-Pa55'}",
    ],
)
def test_no_error_about_a_file_repeats_a_secret(tmp_path: Path, line: str) -> None:
    file = tmp_path / "stream.yaml"
    file.write_text(line + "\n", encoding="utf-8")
    text = said("run", "--config", str(file), "--bootstrap", "127.0.0.1:1") if "passwrod" not in line else ""
    text += said("config", "check", "--config", str(file))
    assert text
    assert NEVER not in text


@pytest.mark.parametrize(
    "arguments",
    [
        ("tail",),
        ("publish", "--generate", "1"),
        ("dlq", "list"),
        ("dlq", "replay", "--all"),
        ("audit", "a", "b"),
        ("topics", "create"),
    ],
)
def test_no_command_repeats_what_the_client_refuses(arguments: tuple[str, ...]) -> None:
    # A password that the client repeats, because something else has the same value.
    given = ("sasl.password=s-Pa55", "sasl.mechanism=s-Pa55", "security.protocol=SASL_SSL")
    options = [text for option in given for text in ("--client", option)]
    text = said(*arguments, "--bootstrap", "127.0.0.1:1", *options)
    assert "the Kafka client refuses its options" in text
    assert NEVER not in text
