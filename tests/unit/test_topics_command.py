"""`claimstream topics create` waits for a broker that is still starting."""

from __future__ import annotations

import pytest

from stream.cli import main, topics
from stream.topics import UnreachableError


@pytest.mark.parametrize(("failures", "code"), [(3, 0), (100, 1)])
def test_a_broker_that_is_still_starting_is_waited_for(
    failures: int, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    moments = iter(range(0, 1_000, 5))
    tries: list[object] = []

    def ensured(_client: object, _topics: object) -> list[str]:
        tries.append(_topics)
        if len(tries) <= failures:
            raise UnreachableError("no Kafka broker answers")
        return ["mine"]

    monkeypatch.setattr(topics.SystemClock, "now", lambda _: float(next(moments)))
    monkeypatch.setattr(topics, "ensure_topics", ensured)
    monkeypatch.setattr(topics, "describe", lambda *_: {"mine": 4})
    assert main.run(["topics", "create", "mine", "--wait", "30"]) == code
    printed = capsys.readouterr()
    assert printed.err.count("waiting for it, at most 30 s") == 1
    assert len(tries) == (4 if code == 0 else 6)
    assert ("created mine" in printed.out) == (code == 0)
