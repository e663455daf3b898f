"""What a service refuses before it starts anything."""

from __future__ import annotations

import re
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from config import load_settings
from stream.clock import SystemClock
from stream.errors import RetryError, UsageError
from stream.latest_shape import LatestShape
from stream.options import TopicShape
from stream.service import Service, _creation, _is_loopback, _spawn

ENTRY = "{type: transformer, framework: pytorch, input_size: %s, memory_mb: 850}"


def service(tmp_path: Path, input_size: str, **settings: Any) -> Service:
    catalog = tmp_path / "ml_models.yaml"
    catalog.write_text(
        f"models:\n  claims_filter_v2.1: {ENTRY % input_size}\n  absent_v1.0: {ENTRY % input_size}\n"
    )
    given = {"cache.catalog": str(catalog), "workers.gpu_device_ids": [], **settings}
    return Service(load_settings(None, {}, given), SystemClock())


def test_a_model_within_its_entry_is_welcome(tmp_path: Path) -> None:
    service(tmp_path, "[24, 64]")._check_promises()


@pytest.mark.parametrize("input_size", ["[23, 64]", "[24, 63]"])
def test_a_model_beyond_its_entry_names_both(tmp_path: Path, input_size: str) -> None:
    with pytest.raises(
        UsageError, match=r"claims_filter_v2\.1: version 2\.1\.0 reads 24 tokens at width 64, its"
    ):
        service(tmp_path, input_size)._check_promises()


def test_a_model_to_preload_that_is_not_there_is_an_error_where_it_was_asked_for(tmp_path: Path) -> None:
    asked = {"workers.preload_models": ["absent_v1.0"]}
    with pytest.raises(UsageError, match=r"workers\.preload_models: no model absent_v1\.0 to load"):
        service(tmp_path, "[24, 64]", **asked)._check_promises()


def test_an_empty_repository_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    empty = tmp_path / "models"
    empty.mkdir()
    service(tmp_path, "[24, 64]", **{"cache.repository": str(empty)})._check_promises()
    assert f"{empty} is empty; the models that ship are served" in caplog.text


def test_what_creates_missing_topics_has_the_file_of_the_settings_and_the_partitions_of_the_input(
    tmp_path: Path,
) -> None:
    file = tmp_path / "own stage.yaml"
    file.write_text("kafka: {bootstrap_servers: 'k:1'}\n")
    said = _creation(load_settings(file, {}, {}), ["scores", "dead"], 12, 3)
    options = f"--bootstrap k:1 --config '{file}' --partitions 12 --replication 3"
    assert said == f"claimstream topics create {options} scores dead"
    plain = load_settings(None, {}, {"kafka.bootstrap_servers": "k:1"})
    assert _creation(plain, ["claims"], None, None) == "claimstream topics create --bootstrap k:1 claims"


LARGE = 8_000_000


@pytest.mark.parametrize(
    ("producer", "topic_bytes", "said"),
    [
        (
            {},
            10 * LARGE,
            "the stage's producer takes records of 4194304 bytes: .* raise kafka.producer: {message.max",
        ),
        (
            {"message.max.bytes": LARGE},
            5_000_000,
            "dead takes records of 5000000 bytes: .* raise its max",
        ),
        ({"message.max.bytes": LARGE}, LARGE, ""),
    ],
)
def test_that_dead_letters_may_lose_their_value_is_said_at_the_start_with_what_limits_them(
    producer: dict[str, int], topic_bytes: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    given = {
        "limits.record_max_bytes": LARGE,
        "kafka.topics.dead_letters": "dead",
        "kafka.producer": producer,
    }
    stage = Service(load_settings(None, {}, given), SystemClock())
    stage._warn_of_cut_letters(TopicShape(1, 1, LARGE, topic_bytes), 10 * LARGE)
    assert re.search(said, caplog.text) if said else not caplog.text


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_these_addresses_are_of_this_machine_alone(host: str) -> None:
    assert _is_loopback(host)
    assert _is_loopback(load_settings(None, {}, {}).http.host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "example.org"])
def test_these_are_warned_of(host: str) -> None:
    assert not _is_loopback(host)


WAS, IS = TopicShape(4, 4, 1_000_000, 1_000_000), TopicShape(4, 2, 1_000, 1_000_000)


def test_a_worker_that_is_started_again_knows_the_topics_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[int, TopicShape]] = []
    monkeypatch.setattr(
        "stream.service.spawner", lambda _, shape: lambda slot, __: started.append((slot, shape))
    )
    spawn = _spawn(load_settings(None, {}, {}), LatestShape(WAS, lambda: IS, patience=20.0))
    for slot in (0, 1, 0):
        spawn(slot, None)  # type: ignore[arg-type]
    assert started == [(0, WAS), (1, WAS), (0, IS)]


@pytest.mark.parametrize("error", [RetryError("no broker"), UsageError("no topic"), ValueError("a defect")])
def test_a_worker_starts_with_what_is_known_where_the_topics_cannot_be_described(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def look() -> TopicShape:
        raise error

    shapes = LatestShape(WAS, look, patience=20.0)
    assert [shapes.of(0), shapes.of(0)] == [WAS, WAS]
    assert f"starts with what was known of them: {error}" in caplog.text


def test_a_look_at_the_topics_that_hangs_is_not_waited_for_and_used_when_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ended = Event()

    def look() -> TopicShape:
        ended.wait(20.0)
        return IS

    shapes = LatestShape(WAS, look, patience=0.01)
    assert [shapes.of(0), shapes.of(0), shapes.of(0)] == [WAS, WAS, WAS]
    assert "the topics are not described yet" in caplog.text
    ended.set()
    assert shapes._looking is not None
    shapes._looking.join(20.0)
    assert shapes.of(1) == IS
