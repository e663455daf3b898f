"""Commits of offsets by the consumer's own client: for the topic that was read, and for no other of its name."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from stream.errors import FatalError
from stream.metrics import StageMetrics
from stream.offsets import OffsetLedger, Standing
from stream.topic_identity import TopicIdentity

log = logging.getLogger(__name__)

# Polls wait for the answer. Where nobody answers they go on for a while before it is asked again.
_ANSWER_SECONDS = 1.0
_SILENCE_SECONDS = 2.0
# While partitions are given away: what is not committed then is scored again.
_LAST_ANSWER_SECONDS = 2.0


def positions(topic: str, standings: Mapping[int, Standing]) -> list[TopicPartition]:
    """Standings as the clients take them."""
    return [
        TopicPartition(topic, partition, standing.offset, metadata=standing.beyond)
        for partition, standing in standings.items()
    ]


class OffsetCommits:
    """Called by the thread that owns the client.

    A commit names its topic, so it is asked before each whether that is still the same. `gone`: why nothing is
    committed any more, empty as long as it is.
    """

    def __init__(
        self,
        client: Consumer,
        topic: str,
        identity: TopicIdentity,
        ledger: OffsetLedger,
        metrics: StageMetrics,
    ) -> None:
        self._client = client
        self._topic = topic
        self._identity = identity
        self._ledger = ledger
        self._metrics = metrics
        self._silent_until = float("-inf")
        self._under_way: Counter[int] = Counter()
        self.gone = ""

    def knows_topic(self, seconds: float) -> bool:
        """Whether it is known which topic is read; before anything of it is. Raises KafkaException."""
        return self._identity.known(seconds)

    def begin(self, standings: Mapping[int, Standing], now: float) -> None:
        """Commit; the answer comes through `note` in a later poll. Where nobody answers it is left for later."""
        if now < self._silent_until:
            return
        if self._is_same(_ANSWER_SECONDS):
            self._commit(standings, wait=False)
        else:
            self._silent_until = now + _SILENCE_SECONDS

    def finish(self, partitions: Sequence[int]) -> None:
        """Commit what is delivered of partitions that are given away, and wait for the answer.

        Also what a commit that is under way covers: should it fail, nobody could make it good any more. Nothing where
        nobody answers.
        """
        self._ledger.uncommitted(self._under_way.keys() & set(partitions))
        standings = self._ledger.committable(partitions)
        if standings and self._is_same(_LAST_ANSWER_SECONDS):
            self._commit(standings, wait=True)

    def note(self, error: KafkaError | None, answers: list[TopicPartition]) -> None:
        """How a commit that `begin` made has ended."""
        self._under_way -= Counter(each.partition for each in answers)
        self._judge(error, answers)

    def _judge(self, error: KafkaError | None, answers: list[TopicPartition]) -> None:
        """A commit that failed is made good by the next, which covers it.

        Where only some of its partitions failed there is no error but theirs.
        """
        failed = answers if error is not None else [each for each in answers if each.error is not None]
        if failed:
            reason = failed[0].error or error
            log.warning("a commit failed: %s", reason)
            self._ledger.uncommitted(each.partition for each in failed)
            if reason is not None and reason.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                said = f"{self._topic!r} is gone, says the group's coordinator; a new worker waits for it"
                self._end(said, (each.partition for each in failed))
        self._metrics.count("commits_total", 1, "failed" if failed else "done")

    def _is_same(self, seconds: float) -> bool:
        if self.gone:
            return False
        try:
            self._identity.check(seconds)
        except FatalError as error:
            self._end(str(error), self._ledger.owned())
            return False
        except KafkaException as error:
            log.warning(
                "a commit is put off, nobody says whether %r is still the same topic: %s",
                self._topic,
                error.args[0].str(),
            )
            self._metrics.count("commits_total", 1, "put off")
            return False
        return True

    def _commit(self, standings: Mapping[int, Standing], *, wait: bool) -> None:
        offsets = positions(self._topic, standings)
        self._ledger.committed(standings)
        try:
            answers = self._client.commit(offsets=offsets, asynchronous=not wait)
        except KafkaException as error:
            self._judge(error.args[0], offsets)
            return
        if wait:
            self._judge(None, answers)
        else:
            self._under_way.update(standings.keys())

    def _end(self, reason: str, partitions: Iterable[int]) -> None:
        """No commit may be made again: a topic of the same name may come, and its claims be passed over."""
        self._ledger.forget(partitions)
        self.gone = reason
