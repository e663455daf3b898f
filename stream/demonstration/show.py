"""One demonstration, from topics to audit."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaException

import schemas
from config import Settings
from stream.audit import Topics, audit
from stream.audit_errors import told
from stream.cache_view import instance_view
from stream.clock import Clock
from stream.codec import Encoder
from stream.demonstration.offline import OfflineRoutes, offline_routes
from stream.demonstration.receiver import Receiver
from stream.demonstration.report import Report, summarize
from stream.errors import FatalError
from stream.metrics import Snapshot
from stream.publishing import Poisson, Publisher, Supply, pacer, publish_all
from stream.service import Service
from stream.topics import ensure_topics, stage_topics

_START_SECONDS = 120.0
_QUIET_SECONDS = 20.0
_LOOK = 0.25


@dataclass(frozen=True, slots=True)
class Plan:
    """What is shown. `rate` is claims a second; at half of the claims `added_workers` join."""

    claims: int
    rate: float
    seed: int
    added_workers: int


@dataclass(frozen=True, slots=True)
class Look:
    """The state of a running demonstration, for whoever draws it."""

    published: int
    received: int
    workers: int
    snapshot: Snapshot


Watch = Callable[[str, "Look | None", Receiver | None], None]


def fresh_topics() -> Topics:
    """Names that no other run uses, so that the audit sees this run alone."""
    run = uuid.uuid4().hex[:8]
    return Topics(f"demo-{run}-claims", f"demo-{run}-scores", f"demo-{run}-dead-letters")


class Show:
    """Publishes, scores, receives and audits; `watch` is told what happens."""

    def __init__(self, settings: Settings, supply: Supply, plan: Plan, clock: Clock, watch: Watch) -> None:
        self._settings = settings
        self._supply = supply
        self._plan = plan
        self._clock = clock
        self._watch = watch
        self._published = 0
        self._acknowledged = 0
        self._failures: list[BaseException] = []

    def run(self) -> Report:
        """Raises FatalError when the stage does not start or does not finish."""
        kafka = self._settings.kafka
        reference = offline_routes(self._settings)
        client = {"bootstrap.servers": kafka.bootstrap_servers, **kafka.client}
        topics = Topics(kafka.topics.input, kafka.topics.output, kafka.topics.dead_letters)
        ensure_topics(client, stage_topics(topics.claims, topics.scores, topics.dead_letters, 4, -1))
        service = Service(self._settings, self._clock)
        serving = threading.Thread(target=self._serve, args=(service,), name="service", daemon=True)
        receiver: Receiver | None = None
        serving.start()
        try:
            receiver = _receiving(client, topics.scores, self._clock)
            self._await_ready(service, serving)
            self._publish_and_watch(client, service, serving, receiver)
            cache = instance_view(service.supervisor.caches() if service.supervisor else [])
        finally:
            service.request_stop()
            serving.join()
            if receiver is not None:
                receiver.stop()
        return self._judge(client, topics, reference, receiver, cache)

    def _serve(self, service: Service) -> None:
        try:
            service.run()
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits for it
            self._failures.append(error)

    def _await_ready(self, service: Service, serving: threading.Thread) -> None:
        self._watch("workers are starting", None, None)
        deadline = self._clock.now() + _START_SECONDS
        while service.supervisor is None or not service.supervisor.ready:
            self._check(service, serving)
            if service.supervisor is not None and service.supervisor.errors:
                raise FatalError(f"a worker could not start: {service.supervisor.errors[0]}")
            if self._clock.now() > deadline:
                raise FatalError(f"the workers were not ready within {_START_SECONDS:.0f} s")
            time.sleep(_LOOK)

    def _check(self, service: Service, serving: threading.Thread) -> None:
        """Raises what the publisher or the service failed by, FatalError for a service that ended."""
        if self._failures:
            raise self._failures[0]
        if not serving.is_alive():
            errors = (
                [] if service.supervisor is None else [service.supervisor.fatal, *service.supervisor.errors]
            )
            reason = next(filter(None, errors), "it gave no reason")
            raise FatalError(f"the stage ended in the middle of the demo: {reason}")

    def _publish_and_watch(
        self, client: Mapping[str, Any], service: Service, serving: threading.Thread, receiver: Receiver
    ) -> None:
        publishing = threading.Thread(target=self._publish, args=(client,), name="publisher", daemon=True)
        publishing.start()
        waiting = self._plan.added_workers
        progress, since = -1, self._clock.now()
        while publishing.is_alive() or self._answered(service, receiver) < self._published:
            self._check(service, serving)
            if waiting and service.supervisor and self._published >= self._plan.claims / 2:
                for _ in range(waiting):
                    service.supervisor.add_worker()
                waiting = 0
            if (answered := self._answered(service, receiver)) + self._published != progress:
                progress, since = answered + self._published, self._clock.now()
            elif self._clock.now() - since > _QUIET_SECONDS:
                raise FatalError(
                    f"{self._published - answered} of {self._published} claims were not answered"
                )
            self._look(service, receiver)
            time.sleep(_LOOK)
        self._check(service, serving)

    def _publish(self, client: Mapping[str, Any]) -> None:
        try:
            publisher = Publisher(
                client, self._settings.kafka.topics.input, Encoder(schemas.load("claim_event"))
            )
            publisher.connect()
            arrivals = pacer(self._plan.rate, Poisson(), self._plan.seed)
            for count in publish_all(publisher, self._supply.batches(), clock=self._clock, pacer=arrivals):
                self._published += count
            publisher.flush()
            self._acknowledged = publisher.acknowledged
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits for it
            self._failures.append(error)

    def _answered(self, service: Service, receiver: Receiver) -> int:
        if service.supervisor is None:
            return receiver.count
        numbers = service.supervisor.snapshot().numbers
        letters = sum(value for (name, _), value in numbers.items() if name == "dead_letters_total")
        return receiver.count + int(letters)

    def _look(self, service: Service, receiver: Receiver) -> None:
        if service.supervisor is not None:
            alive, snapshot = service.supervisor.alive, service.supervisor.snapshot()
            self._watch("scoring", Look(self._published, receiver.count, alive, snapshot), receiver)

    def _judge(
        self,
        client: Mapping[str, Any],
        topics: Topics,
        reference: OfflineRoutes,
        receiver: Receiver,
        cache: dict[str, Any],
    ) -> Report:
        self._watch("auditing", None, None)
        with told():
            finding = audit(client, topics, reference)
        times = receiver.times()
        budget = self._settings.latency.budget_ms / 1_000
        return summarize(finding, self._acknowledged, times, budget, cache)


def _receiving(client: Mapping[str, Any], topic: str, clock: Clock) -> Receiver:
    try:
        receiver = Receiver(client, topic, clock)
    except KafkaException as error:
        raise FatalError(f"no consumer could begin to read {topic}: {error.args[0].str()}") from error
    receiver.start()
    return receiver
