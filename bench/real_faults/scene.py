"""Where a fault strikes: a cluster, topics, a stage at work, and claims that come."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from confluent_kafka import Message
from confluent_kafka.admin import AdminClient

from bench.real_faults.clusters import Cluster
from bench.real_faults.entry import LONGEST_TRANSACTION
from bench.real_faults.flow import FRESH, Flow
from bench.real_faults.levers import Lever, Levers
from bench.real_faults.registry import OneSchemaRegistry
from bench.real_faults.stage import NeverError, Stage, await_that, coming_and_going, group_of, names
from stream.audit import Topics
from stream.topics import TopicSpec, ensure_topics

PARTITIONS = 4
SESSION = 3.0
# Claims a second.
RATE = 200.0
_CALM_SECONDS = 0.5

_SESSION = "CLAIMSTREAM_KAFKA__CONSUMER__SESSION_TIMEOUT_MS"

# Small batches keep many in flight; no model is loaded that is not asked for.
_QUICK = {
    "ML_PRELOAD_MODELS": "",
    "ML_CACHE_L2_REDIS_GB": "0",
    "ML_BATCH_SIZE_MIN": "4",
    "ML_BATCH_SIZE_MAX": "16",
    _SESSION: str(int(1_000 * SESSION)),
    "CLAIMSTREAM_LATENCY__DRAIN_TIMEOUT_S": "8",
    LONGEST_TRANSACTION: "4000",
}


class UnavailableError(RuntimeError):
    """This machine cannot have the fault."""


Prepare = Callable[["Scene"], Mapping[str, str]]


class Scene:
    """One run of a fault. `thorough`: what takes a minute takes it. `prepare` gives more settings of the stage."""

    def __init__(
        self,
        cluster: Cluster,
        mode: str,
        settings: Mapping[str, str],
        folder: Path,
        *,
        workers: int = 1,
        model: str | None = "null",
        seed: int = 1,
        thorough: bool = False,
        topic_config: Mapping[str, str] | None = None,
        full_disk: bool = False,
        prepare: Prepare = lambda _: {},
    ) -> None:
        self.cluster = cluster
        self.mode = mode
        self.random = random.Random(seed)
        self.thorough = thorough
        self.folder = folder
        self.name = f"faults-{uuid.uuid4().hex[:8]}"
        self.topics = Topics(f"{self.name}-claims", f"{self.name}-scores", f"{self.name}-dead")
        self.levers = Levers(folder / "levers")
        self._settings = dict(settings)
        self._catalog = folder / "models.yaml"
        self._prepare = prepare
        self.registry: OneSchemaRegistry | None = None
        # What is to be undone.
        self.at_end: list[Callable[[], object]] = []
        self._workers = workers
        self._model = model
        self._full_disk = full_disk
        self._topic_config = topic_config or {}
        self.stages: list[Stage] = []
        self._flow: Flow | None = None
        self._seed = seed
        # What a strike saw that must not be.
        self.complaints: list[str] = []

    @property
    def stage(self) -> Stage:
        """The stage under test."""
        return self.stages[0]

    @property
    def flow(self) -> Flow:
        """The claims that come. RuntimeError before `set_up`."""
        if self._flow is None:
            raise RuntimeError("the scene is not set up")
        return self._flow

    @property
    def group(self) -> str:
        """Of the stage's workers."""
        return group_of(self.topics)

    @property
    def letters(self) -> list[Message]:
        """Dead letters of all that was published."""
        return [] if self._flow is None else self._flow.letters

    @cached_property
    def admin(self) -> AdminClient:
        """For what an operator does to topics and permissions."""
        return self.new_admin()

    def new_admin(self) -> AdminClient:
        """One that remembers nothing of the cluster, such as who coordinated a group before a strike."""
        return AdminClient({**self.cluster.client, "log_level": 0})

    def set_up(self) -> None:
        """Topics, the stage ready, claims coming and answered."""
        (self.folder / "levers").mkdir(parents=True, exist_ok=True)
        self._catalog.write_text("models: {}\n", encoding="utf-8")
        brokers = self.cluster.brokers
        ensure_topics(
            self.cluster.client,
            [
                TopicSpec(self.topics.claims, PARTITIONS, brokers),
                TopicSpec(self.topics.scores, PARTITIONS, brokers, self._topic_config),
                TopicSpec(self.topics.dead_letters, 1, brokers, {"max.message.bytes": "3000000"}),
            ],
        )
        self._settings |= self._prepare(self)
        self._flow = Flow(self.cluster.client, self.topics, RATE, self._seed)
        self.start_stage()
        self.stage.await_ready()
        self.flow.start()
        await_that(lambda: self.flow.answered > 0, "first answers")
        self.await_calm()

    def tear_down(self) -> None:
        """Whatever still runs ends."""
        for stage in self.stages:
            if stage.exit_code is None:
                stage.kill()
        if self._flow is not None:
            self._flow.stop()
        for undo in reversed(self.at_end):
            undo()

    def start_stage(self, instance: str = "here") -> Stage:
        """One more stage; the first is the one under test."""
        arguments = ["bench.real_faults.entry", str(self.folder / "levers"), "run"]
        arguments += ["--bootstrap", self.cluster.bootstrap, "--workers", str(self._workers)]
        arguments += ["--model", self._model] if self._model else []
        log = self.folder / f"stage-{len(self.stages)}.log"
        stage = Stage(arguments, self.environment(instance), log, full_disk=self._full_disk)
        self.stages.append(stage)
        return stage

    def start_again(self) -> None:
        """The stage under test has ended; a new one takes its place."""
        self.start_stage()
        self.stages.insert(0, self.stages.pop())

    def environment(self, instance: str) -> dict[str, str]:
        # By KIP-848 the session is the broker's, which has the same.
        led = "CLAIMSTREAM_KAFKA__CONSUMER__GROUP_PROTOCOL" in self._settings
        return {
            **{name: value for name, value in _QUICK.items() if not (led and name == _SESSION)},
            **names(self.topics),
            "CLAIMSTREAM_KAFKA__DELIVERY": self.mode,
            "CLAIMSTREAM_KAFKA__INSTANCE": instance,
            "CLAIMSTREAM_CACHE__CATALOG": str(self._catalog),
            "CLAIMSTREAM_BATCHING__SPEEDS_FILE": str(self.folder / "speeds.json"),
            **self._settings,
        }

    @contextmanager
    def further_worker(self, seconds: float, period: float) -> Iterator[None]:
        """A worker that joins and leaves every `period` seconds."""
        environment = {
            **self.environment("further"),
            "CLAIMSTREAM_KAFKA__BOOTSTRAP_SERVERS": self.cluster.bootstrap,
            "CLAIMSTREAM_ROUTES": '{"*": ["null"]}',
        }
        log = self.folder / "further.log"
        with coming_and_going(self.folder / "levers", environment, log, seconds, period) as process:
            yield
            process.wait(seconds + 60.0)
            if process.returncode:
                self.complaints.append(f"the further worker ended with code {process.returncode}")

    def listen(self) -> None:
        """What the stages said so far counts no more: the next strike has to be noticed by itself."""
        for stage in self.stages:
            stage.listen()

    def pull(self, lever: Lever, seconds: float = 20.0) -> None:
        """Pull a lever, and wait until a worker has come to it. Raises NeverError."""
        self.levers.pull(lever)
        await_that(lambda: not self.levers.pulled(lever), f"a worker comes to {lever.name}", seconds)

    def await_calm(self, seconds: float = 60.0) -> None:
        """No claim has been waiting for long, for a while. Raises NeverError."""
        since = [time.monotonic()]

        def calm() -> bool:
            if self.flow.age() > FRESH / 2:
                since[0] = time.monotonic()
            return time.monotonic() - since[0] > _CALM_SECONDS

        try:
            await_that(calm, f"claims are answered in time again, {self.flow.waiting} wait", seconds)
        except NeverError:
            self._keep_what_is_said()
            raise

    def await_answers(self, seconds: float = 60.0) -> None:
        """All claims are answered. Raises NeverError."""
        await_that(
            lambda: not self.flow.waiting, f"the last {self.flow.waiting} claims are answered", seconds
        )

    def _keep_what_is_said(self) -> None:
        """How the stage stands, beside its log, for whoever looks for the cause."""
        said = [f"{self.flow.waiting} claims wait"]
        said += [self.stage.get(path)[1] for path in ("/readyz", "/ml/batching", "/metrics")]
        (self.folder / "waited-in-vain.txt").write_text("\n".join(said), encoding="utf-8")

    def expect(self, holds: bool, what: str) -> None:
        """Note what does not hold."""
        if not holds:
            self.complaints.append(what)
