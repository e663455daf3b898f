"""The stage as a service: topics checked, workers supervised, HTTP served, and the order of the end."""

from __future__ import annotations

import ipaddress
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import wait
from contextlib import closing
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from config import Settings
from models import Pool, Repository, UnavailableError, is_known, open_pool
from stream import topics
from stream.admin import AdminServer, CacheAction, application
from stream.backoff import Backoff
from stream.batching_view import batching_view, standing
from stream.cache_view import instance_view
from stream.client_check import check_clients
from stream.clock import Clock
from stream.errors import UsageError
from stream.latest_shape import LatestShape
from stream.options import (
    PRODUCER_LIMIT,
    TopicShape,
    admin_options,
    cache_options,
    model_catalog,
    record_limits,
)
from stream.process import LEAVE_SECONDS, configure_logging, patience, spawner
from stream.supervisor import Spawn, Supervisor

log = logging.getLogger(__name__)


class CacheDesk:
    """The caches of all workers, seen and ordered from the supervisor's side."""

    def __init__(self, supervisor: Supervisor, timeout: float) -> None:
        self._supervisor = supervisor
        self._timeout = timeout

    def view(self) -> dict[str, Any]:
        return instance_view(self._supervisor.caches())

    def order(self, action: CacheAction, models: Sequence[str]) -> tuple[list[str], bool]:
        asked = self._supervisor.ask(action, models)
        done, late = wait(asked, self._timeout * len(models))
        lines = [line for answer in done for line in answer.result().lines]
        lines += [f"a worker did not answer within {self._timeout * len(models):g} s"] * len(late)
        return lines, not late and not any(answer.result().failed for answer in done)


class Service:
    """One instance: a supervisor, its workers, its endpoints."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._stop = threading.Event()
        self.supervisor: Supervisor | None = None
        self.address = ""

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    def request_stop(self) -> None:
        """Drain and end; `run` returns when that is done."""
        self._stop.set()

    def in_flight(self) -> int:
        """Claims between poll and acknowledgement, as last reported."""
        if self.supervisor is None:
            return 0
        return int(self.supervisor.snapshot().numbers.get(("claims_in_flight", ()), 0))

    def kill(self) -> None:
        """End all workers at once."""
        if self.supervisor is not None:
            self.supervisor.kill()

    def run(self) -> int:
        """Serve until asked to stop, or a worker met what all would meet. The exit code is that of `stream.errors`.

        Readiness goes first, so that nobody counts on a stage that ends; then the workers drain and leave the group;
        HTTP ends last, because until then it tells how far they are.
        """
        configure_logging(self._settings)
        self._check_promises()
        check_clients(self._settings)
        # Held beside the workers: models in RAM outlive a worker that crashes, and never the service.
        with closing(self._pool()):
            shape = self._await_topics()
            return 0 if shape is None else self._serve(shape)

    def _serve(self, shape: TopicShape) -> int:
        settings, http = self._settings, self._settings.http
        supervisor = Supervisor(
            _spawn(settings, LatestShape(shape, self._checked_topics)),
            settings.workers.processes,
            self._clock,
            patience(settings),
        )
        self.supervisor = supervisor
        app = application(
            supervisor.snapshot,
            lambda: supervisor.unready,
            lambda: supervisor.alive > 0,
            CacheDesk(supervisor, self._settings.cache.load_timeout_s),
            lambda: _status(supervisor),
            http.token,
        )
        if not _is_loopback(http.host):
            log.warning(
                "http.host: %s can be reached by other machines, without TLS: whoever listens on the way reads%s",
                http.host,
                " http.token" if http.token else " it all",
            )
        server = AdminServer(app, http.host, http.port)
        server.start()
        self.address = server.address
        log.info("endpoints at %s", server.address)
        try:
            while not self._stop.is_set() and not supervisor.hopeless:
                supervisor.step(0.1)
            if supervisor.hopeless:
                log.error("the stage stops: %s", supervisor.fatal)
            supervisor.stop(self._settings.latency.drain_timeout_s + LEAVE_SECONDS)
        finally:
            supervisor.kill()
            server.stop()
        count = f"{'at least ' if supervisor.uncounted else ''}{supervisor.unfinished}"
        log.info("ended; %s claims stay uncommitted", count)
        return supervisor.exit_code or (1 if supervisor.unfinished else 0)

    def _pool(self) -> Pool:
        try:
            return open_pool(cache_options(self._settings))
        except UnavailableError as error:
            raise UsageError(str(error)) from error

    def _check_promises(self) -> None:
        """A value that cannot hold is an error where somebody set it, and a word where it is the default."""
        workers = self._settings.workers
        folder = self._settings.cache.repository
        repository = Path(folder) if folder else None
        absent = [name for name in workers.preload_models if not is_known(name, repository)]
        if absent:
            self._miss(absent)
        self._check_sizes(Repository(repository))
        if repository is not None and repository.is_dir() and not any(repository.iterdir()):
            log.warning("cache.repository: %s is empty; the models that ship are served", repository)

    def _miss(self, absent: Sequence[str]) -> None:
        names, origin = ", ".join(absent), self._settings.origin("workers.preload_models")
        if origin.explicit:
            raise UsageError(f"{origin.text}: workers.preload_models: no model {names} to load")
        log.info("workers.preload_models: %s, named by default, does not ship and is not loaded", names)

    def _check_sizes(self, repository: Repository) -> None:
        """The catalog's input_size is an upper bound. Raises UsageError for a version that is larger."""
        for name, entry in model_catalog(self._settings).models.items():
            if not is_known(name, repository.root):
                continue
            for share in (target := repository.resolve(name)).shares:
                manifest = repository.release(target.name, share.version).manifest
                # An exported program says nothing of its width.
                width = manifest.architecture.width if manifest.architecture else 0
                size = [manifest.features.length, width]
                if any(have > most for have, most in zip(size, entry.input_size, strict=True)):
                    raise UsageError(
                        f"{name}: version {share.version} reads {size[0]} tokens at width {size[1]}, its entry in the "
                        f"catalog says input_size {entry.input_size}; correct the entry or promote another version"
                    )

    def _await_topics(self) -> TopicShape | None:
        """Shapes of the topics; waits, with back-off, for a cluster that is not there. None when asked to stop."""
        backoff = Backoff()
        while not self._stop.is_set():
            try:
                return self._checked_topics()
            except topics.UnreachableError as error:
                wait = backoff.failed()
                log.error("%s; next try in %.1f s", error, wait)  # noqa: TRY400 - the place is no news
                self._stop.wait(wait)
        return None

    def _checked_topics(self) -> TopicShape:
        kafka = self._settings.kafka
        names = [kafka.topics.input, kafka.topics.output, kafka.topics.dead_letters]
        client = admin_options(self._settings)
        found = topics.describe(client, names)
        if missing := [name for name in names if found[name] is None]:
            replicas = topics.replicas_of_new(client, missing)
            raise UsageError(
                f"no topic {', '.join(map(repr, missing))} at {kafka.bootstrap_servers}; create with: "
                f"{_creation(self._settings, missing, found[names[0]] or found[names[1]], replicas)}"
            )
        largest = topics.largest_records(client, names)
        shape = TopicShape(found[names[0]] or 0, found[names[1]] or 0, largest[names[1]], largest[names[2]])
        self._warn_of_cut_letters(shape, largest[names[0]])
        return shape

    def _warn_of_cut_letters(self, shape: TopicShape, input_bytes: int) -> None:
        """Raises UsageError where no result, or no letter, could be made so small as to be taken."""
        kafka = self._settings.kafka
        _, letter = record_limits(self._settings, shape)
        if letter < min(input_bytes, self._settings.limits.record_max_bytes):
            by_topic = letter == shape.dead_letter_bytes
            log.warning(
                "%s takes records of %d bytes: dead letters that are larger go to %s without their value; raise %s",
                kafka.topics.dead_letters if by_topic else "the stage's producer",
                letter,
                kafka.topics.dead_letters,
                "its max.message.bytes" if by_topic else PRODUCER_LIMIT,
            )


def _spawn(settings: Settings, shapes: LatestShape) -> Spawn:
    """Each worker with the topics as they are when it starts."""

    def spawn(slot: int, connection: Connection) -> BaseProcess:
        process: BaseProcess = spawner(settings, shapes.of(slot))(slot, connection)
        return process

    return spawn


def _creation(
    settings: Settings, missing: Sequence[str], partitions: int | None, replicas: int | None
) -> str:
    """The command that makes the missing topics such as this stage needs them; `partitions`: of those there are."""
    file = None if settings.file is None else str(settings.file)
    return topics.creation_command(settings.kafka.bootstrap_servers, missing, file, partitions, replicas)


def _status(supervisor: Supervisor) -> dict[str, Any]:
    """What `/ml/batching` tells."""
    numbers = supervisor.snapshot()
    instance = standing(supervisor.unready, supervisor.alive, supervisor.workers, numbers)
    return {"instance": instance, **batching_view(supervisor.batching(), numbers)}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
