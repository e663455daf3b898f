"""Whether the name of the input topic still means the topic that it meant."""

from __future__ import annotations

from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException

from stream.clock import Clock
from stream.errors import FatalError

# It costs 1 to 2 ms to ask; to delete a topic and make it again takes the fastest brokers longer than this.
_SURE_SECONDS = 0.05
_ANSWER_SECONDS = 5.0
_WATCH_SECONDS = 1.0

Ask = Callable[[float], str | None]


class TopicIdentity:
    """Offsets are committed by a topic's name, and a topic of that name may be deleted and made again meanwhile.

    `ask` gives what tells the topic from others of its name, None where there is none; it raises KafkaException where
    nobody answers within so many seconds.
    """

    def __init__(self, name: str, ask: Ask, clock: Clock) -> None:
        self._name = name
        self._ask = ask
        self._clock = clock
        self._known: str | None = None
        self._sure_until = float("-inf")

    def learn(self) -> None:
        """Before anything is read. Raises FatalError."""
        try:
            self._known = self._ask(_ANSWER_SECONDS)
        except KafkaException as error:
            raise FatalError(f"{self._name!r} cannot be described: {error.args[0].str()}") from error

    def known(self, seconds: float) -> bool:
        """The same for whoever can wait: false as long as there is no such topic. Raises KafkaException."""
        if self._known is None:
            self._known = self._ask(seconds)
        return self._known is not None

    def check(self, seconds: float = _ANSWER_SECONDS) -> None:
        """Raises FatalError where it is another topic now or none, KafkaException where nobody answers."""
        now = self._clock.now()
        if now < self._sure_until:
            return
        if self._ask(seconds) != self._known:
            raise FatalError(
                f"{self._name!r} is gone or was made anew: nothing that was read of it is committed for the topic of "
                "that name; a new worker begins with what is there"
            )
        self._sure_until = now + _SURE_SECONDS

    def reaches_cluster(self) -> bool:
        """Whether whoever asks knows a broker; from any thread. An answer that comes late is on its way."""
        try:
            self._ask(_WATCH_SECONDS)
        except KafkaException as error:
            return bool(error.args[0].code() != KafkaError._TRANSPORT)  # noqa: SLF001 - the client's only name for it
        return True
