"""A producer's side of its transactions: what may be called when, and what becomes of an error."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException

from stream.embedded.simulated.faults import RefusedError, Step, UnansweredError
from stream.embedded.simulated.groups import Credentials, Offsets
from stream.embedded.simulated.message import failure
from stream.embedded.simulated.outgoing import Sender

if TYPE_CHECKING:
    from stream.embedded.simulated.cluster import SimulatedProcess

_FOREVER = 1e9
_FENCING = {KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED}


class _State(Enum):
    INIT = "Init"
    READY = "Ready"
    OPEN = "InTransaction"
    BROKEN = "AbortableError"
    COMMITTING = "CommittingTransaction"
    ABORTING = "AbortingTransaction"


class ProducerTransaction:
    """One transaction at a time. A call that timed out may be repeated, and nothing else may come between."""

    def __init__(
        self,
        name: str,
        timeout: float,
        process: SimulatedProcess,
        sender: Sender,
        serve: Callable[[], object],
    ) -> None:
        self._name = name
        self._timeout = timeout
        self._process = process
        self._sender = sender
        self._serve = serve
        self._state = _State.INIT
        self._error: KafkaError | None = None
        self._unsure = False

    @property
    def open(self) -> bool:
        """Whether messages are taken."""
        return self._state is _State.OPEN and self._sender.failed is None

    def init(self, timeout: float) -> None:
        self._check_state(_State.INIT)
        coordinator = self._process.cluster.transactions

        def ask() -> None:
            self._sender.renew(coordinator.init(self._name, self._sender.number, self._timeout))

        self._insist(Step.INIT_PRODUCER, ask, timeout)
        self._state = _State.READY

    def begin(self) -> None:
        self._check_state(_State.READY)
        self._sender.begin()
        if (who := self._sender.identity) is not None:
            self._process.cluster.transactions.begun(who)
        self._state = _State.OPEN

    def send_offsets(self, offsets: Offsets, member: Credentials, timeout: float) -> None:
        self._check_conflict(None)
        self._check_state(_State.OPEN)
        cluster, now = self._process.cluster, self._process.cluster.clock.now()
        group, who = cluster.group(member.group), self._sender.identity
        if who is None or not offsets:
            return
        self._insist(
            Step.TXN_OFFSETS,
            _patient(lambda: cluster.transactions.add_offsets(who, group, member, offsets, now)),
            timeout,
        )

    def commit(self, timeout: float) -> None:
        self._check_conflict(_State.COMMITTING)
        self._check_state(_State.OPEN, _State.COMMITTING)
        self._state = _State.COMMITTING
        deadline = self._now() + (timeout if timeout >= 0.0 else _FOREVER)
        if not self._process.wait(self._flushed, deadline - self._now()):
            raise self._timed_out()
        self._check_fatal()
        self._check_failed()
        self._end(deadline, commit=True)
        self._state = _State.READY

    def abort(self, timeout: float) -> None:
        self._check_conflict(_State.ABORTING)
        self._check_state(_State.OPEN, _State.BROKEN, _State.ABORTING)
        self._state = _State.ABORTING
        deadline = self._now() + (timeout if timeout >= 0.0 else _FOREVER)
        self._unsure |= self._sender.purge()
        self._serve()
        self._end(deadline, commit=False)
        if self._unsure:
            self._renew(deadline)
        self._state, self._error, self._unsure = _State.READY, None, False

    def _end(self, deadline: float, *, commit: bool) -> None:
        """A transaction that never reached the coordinator ends without it."""
        who, coordinator = self._sender.identity, self._process.cluster.transactions
        if who is not None and coordinator.knows(who):
            self._insist(Step.END_TXN, lambda: coordinator.end(who, commit=commit), deadline - self._now())

    def _renew(self, deadline: float) -> None:
        """Whether purged messages were written is unknown: a new epoch begins to count anew."""
        who, coordinator = self._sender.identity, self._process.cluster.transactions

        def ask() -> None:
            if who is not None:
                self._sender.renew(coordinator.renew(who))

        self._insist(Step.INIT_PRODUCER, ask, deadline - self._now())

    def _insist(self, step: Step, request: Callable[[], None], timeout: float) -> None:
        """Ask until somebody answers. Raises KafkaException, retriable when time is over."""

        def answered() -> bool:
            try:
                self._process.ask(step, request)
            except UnansweredError:
                return False
            return True

        try:
            in_time = self._process.wait(answered, timeout if timeout >= 0.0 else _FOREVER)
        except RefusedError as refusal:
            self._refused(refusal.code)
        else:
            if not in_time:
                raise self._timed_out()

    def _refused(self, code: int) -> None:
        if code in _FENCING:
            reason = "Failed to end transaction: Local: This instance has been fenced by a newer instance"
            error = KafkaError(KafkaError._FENCED, reason, fatal=True)
            self._sender.raise_alarm(error)
            raise KafkaException(error)
        self._break(KafkaError(code, KafkaError(code).str(), txn_requires_abort=True))

    def _break(self, error: KafkaError) -> None:
        self._state, self._error = _State.BROKEN, error
        raise KafkaException(error)

    def _flushed(self) -> bool:
        self._process.check()
        self._sender.hurry()
        self._sender.work()
        self._serve()
        return len(self._sender) == 0

    def _check_failed(self) -> None:
        """A message that failed breaks the transaction."""
        if (failed := self._sender.failed) is not None:
            self._break(KafkaError(failed.code(), failed.str(), txn_requires_abort=True))

    def _check_state(self, *allowed: _State) -> None:
        self._check_fatal()
        if self._state is _State.OPEN and _State.BROKEN not in allowed:
            self._check_failed()
        if self._state is _State.BROKEN and _State.BROKEN not in allowed and self._error is not None:
            raise KafkaException(self._error)
        if self._state not in allowed:
            reason = f"Operation not valid in state {self._state.value}"
            raise failure(KafkaError._STATE, reason)

    def _check_conflict(self, own: _State | None) -> None:
        """A commit or an abort that timed out has to be gone on with first."""
        self._check_fatal()
        names = {_State.COMMITTING: "commit_transaction", _State.ABORTING: "abort_transaction"}
        if self._state in names and self._state is not own:
            reason = f"Conflicting {names[self._state]} API call is already in progress"
            raise failure(KafkaError._CONFLICT, reason, retriable=True)

    def _check_fatal(self) -> None:
        if self._sender.fatal is not None:
            raise KafkaException(self._sender.fatal)

    def _timed_out(self) -> KafkaException:
        reason = "Timed out waiting for operation to finish, retry call to resume"
        return failure(KafkaError._TIMED_OUT, reason, retriable=True)

    def _now(self) -> float:
        return self._process.cluster.clock.now()


def _patient(request: Callable[[], None]) -> Callable[[], None]:
    """The client asks again where the coordinator knows no such topic: one may be on its way to it."""

    def asked() -> None:
        try:
            request()
        except RefusedError as refusal:
            if refusal.code == KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise UnansweredError from refusal
            raise

    return asked
