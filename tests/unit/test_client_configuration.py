"""`publish` and `tail` take their brokers, topics and client options from the configuration, like every command."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from stream.cli import main
from stream.errors import UsageError

Asked = list[tuple[dict[str, str], str]]

SETTINGS = """
kafka:
  bootstrap_servers: "configured:9093"
  topics: {input: c-in, output: c-out}
  client: {security.protocol: SASL_SSL, sasl.username: somebody}
"""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """The client options and topic of each look-up, all of which fail."""
    found: Asked = []

    def look_up(config: Mapping[str, str], topic: str, _settings: object) -> int:
        found.append((dict(config), topic))
        raise UsageError("no broker in this test")

    for module in ("publish", "tail"):
        monkeypatch.setattr(f"stream.cli.{module}.partitions_of", look_up)
    return found


@pytest.mark.parametrize(
    ("command", "topic"), [(("publish", "--generate", "5"), "c-in"), (("tail", "--count", "1"), "c-out")]
)
def test_the_configuration_counts_and_given_options_win(
    command: tuple[str, ...], topic: str, asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stream.yaml").write_text(SETTINGS, encoding="utf-8")
    monkeypatch.setenv("CLAIMSTREAM_KAFKA__CLIENT__SASL_PASSWORD", "hush")
    arguments = [*command, "--config", str(tmp_path / "stream.yaml")]
    assert main.run(arguments) == 2
    given = ["--topic", "other", "--bootstrap", "given:1", "--client", "security.protocol=SSL"]
    assert main.run([*arguments, *given]) == 2
    shared = {"sasl.username": "somebody", "sasl.password": "hush"}
    assert asked == [
        ({"bootstrap.servers": "configured:9093", "security.protocol": "SASL_SSL", **shared}, topic),
        ({"bootstrap.servers": "given:1", "security.protocol": "SSL", **shared}, "other"),
    ]


@pytest.mark.parametrize("rate", ["nan", "inf"])
def test_a_rate_that_is_no_number_is_bad_usage(
    rate: str, asked: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["publish", "--generate", "5", "--rate", rate]) == 2
    assert f"--rate {rate} is no number of claims a second" in capsys.readouterr().err
    assert asked == []


def test_options_without_effect_are_bad_usage(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    cases = [
        (
            ("publish", "--generate", "5", "--mapping", "tuva", "--rejects", "r.csv"),
            "--mapping and --rejects",
        ),
        (("publish", "--generate", "5", "--rejects", "r.csv"), "leave out --rejects"),
        (("publish", "--generate", "5", "--client", "acks=1"), "--client acks is set by claimstream itself"),
        (("dlq", "replay", "--all", "--client", "transactional.id=x"), "--client transactional.id is set by"),
        (("audit", "a", "b", "--group", ""), "--group is empty"),
        (("models", "train", "--seed", "-1"), "'--seed'"),
    ]
    for arguments, said in cases:
        assert main.run([*arguments]) == 2
        assert said in capsys.readouterr().err
    assert asked == []
