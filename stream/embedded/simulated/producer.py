"""In place of confluent_kafka.Producer: the same calls, delivery reports and errors, without a thread or a socket."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from stream.embedded.simulated.groups import Credentials
from stream.embedded.simulated.message import Headers, Message, Record, failure
from stream.embedded.simulated.outgoing import Outgoing, Sender
from stream.embedded.simulated.producer_transaction import ProducerTransaction

if TYPE_CHECKING:
    from stream.embedded.simulated.cluster import SimulatedProcess

DeliveryCallback = Callable[[KafkaError | None, Message], None]
_FOREVER = 1e9


class SimulatedProducer:
    """Idempotent and transactional as its options say. Delivery reports come only inside `poll` and `flush`, and in
    the calls that end a transaction, which flush."""

    def __init__(self, options: dict[str, Any], process: SimulatedProcess) -> None:
        self._process = process
        self._limit: int = options.get("queue.buffering.max.messages", 100_000)
        self._patience: float = options.get("message.timeout.ms", 300_000) / 1_000
        self._linger: float = options.get("linger.ms", 5) / 1_000
        self._sender = Sender(options, process)
        self._reports: deque[tuple[Outgoing, KafkaError | None]] = self._sender.reports
        self._transaction: ProducerTransaction | None = None
        if name := options.get("transactional.id"):
            timeout = options.get("transaction.timeout.ms", 60_000) / 1_000
            self._transaction = ProducerTransaction(name, timeout, process, self._sender, self._serve)

    def __len__(self) -> int:
        return len(self._sender)

    def __bool__(self) -> bool:
        return True

    def produce(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        partition: int = -1,
        on_delivery: DeliveryCallback | None = None,
        timestamp: int = 0,
        headers: Headers | None = None,
    ) -> None:
        self._process.check()
        if self._sender.fatal is not None:
            raise failure(KafkaError._FATAL, "Unable to produce message: Local: Fatal error")
        if self._transaction is not None and not self._transaction.open:
            raise failure(KafkaError._STATE, "Unable to produce message: Local: Erroneous state")
        if len(self) >= self._limit:
            raise BufferError("Local: Queue full")
        now = self._process.cluster.clock.now()
        stamp = timestamp or self._process.cluster.stamp()
        given_up = now + self._patience if self._patience else _FOREVER
        record = Record(-1, key, value, headers, stamp)
        self._sender.put(Outgoing(topic, partition, record, on_delivery, now + self._linger, given_up))

    def produce_batch(self, topic: str, messages: Sequence[dict[str, Any]], partition: int = -1) -> int:
        """How many were taken; the others carry `_error`."""
        taken = 0
        for message in messages:
            try:
                self.produce(topic, message.get("value"), message.get("key"), partition)
            except BufferError:
                reason = "Message failed: Local: Queue full"
                message["_error"] = KafkaError(KafkaError._QUEUE_FULL, reason)
            except KafkaException as error:
                message["_error"] = error.args[0]
            else:
                taken += 1
        return taken

    def poll(self, timeout: float = -1) -> int:
        """Never waits; the number of reports served."""
        self._process.check()
        self.background()
        return self._serve()

    def flush(self, timeout: float = -1) -> int:
        self._process.check()
        self._process.wait(self._flushed, timeout if timeout >= 0.0 else _FOREVER)
        return len(self)

    def purge(self, in_queue: bool = True, in_flight: bool = True, blocking: bool = True) -> None:
        """Everything that was not acknowledged fails."""
        self._process.check()
        self._sender.purge()

    def init_transactions(self, timeout: float = -1) -> None:
        self._transactional().init(timeout)

    def begin_transaction(self) -> None:
        self._transactional().begin()

    def send_offsets_to_transaction(
        self, positions: list[TopicPartition], group_metadata: Credentials, timeout: float = -1
    ) -> None:
        offsets = {(each.topic, each.partition): (each.offset, each.metadata) for each in positions}
        self._transactional().send_offsets(offsets, group_metadata, timeout)

    def commit_transaction(self, timeout: float = -1) -> None:
        self._transactional().commit(timeout)

    def abort_transaction(self, timeout: float = -1) -> None:
        self._transactional().abort(timeout)

    def background(self) -> None:
        """What the client's own thread does: send what is due, take what was answered."""
        if not self._process.frozen and not self._process.dawdles():
            self._sender.work()

    def _flushed(self) -> bool:
        self._process.check()
        self._sender.hurry()
        self.background()
        self._serve()
        return len(self) == 0

    def _serve(self) -> int:
        """Raises KafkaException once for a fatal error, before the reports, as the real client does."""
        if (error := self._sender.take_alarm()) is not None:
            raise KafkaException(error)
        served = 0
        while self._reports:
            outgoing, failed = self._reports.popleft()
            served += 1
            if outgoing.on_delivery is not None:
                outgoing.on_delivery(failed, outgoing.message(failed))
        return served

    def _transactional(self) -> ProducerTransaction:
        self._process.check()
        if self._transaction is None:
            raise failure(
                KafkaError._NOT_CONFIGURED,
                "The Transactional API requires transactional.id to be configured",
            )
        return self._transaction
