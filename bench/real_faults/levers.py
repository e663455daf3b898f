"""What happens inside a worker at one of its steps, when somebody outside pulls a lever: a file in a folder.

A lever is pulled once: the first worker that comes to its step takes the file away, and acts.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Literal

import stream.producer
from models import assembly
from stream.admission import Admission
from stream.client_calls import ClientCalls
from stream.consumer import ClaimConsumer
from stream.delivery import Delivery
from stream.offsets import OffsetLedger
from stream.producer import ClaimProducer
from stream.scoring import Scorer
from stream.transactions import TransactionalProducer

Moment = Literal["before", "after"]
Act = Literal["kill", "terminate", "sleep", "queue full"]

# The way of a claim, numbered: where a worker may be struck, before and after.
STEPS = ("poll", "admit", "score", "deliver", "send", "complete")
COMMITS: Mapping[str, tuple[str, ...]] = {
    "at_least_once": ("commit",),
    "exactly_once": ("send_offsets_to_transaction", "commit_transaction"),
}


@dataclass(frozen=True, slots=True)
class Lever:
    """`act` at a step; `seconds` of a sleep."""

    step: str
    moment: Moment
    act: Act
    seconds: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.step}.{self.moment}"


class Levers:
    """The folder, seen from both sides."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def pull(self, lever: Lever) -> None:
        """Appears complete, or not at all."""
        aside = self._folder / f".{lever.name}"
        aside.write_text(json.dumps(asdict(lever)), encoding="utf-8")
        aside.replace(self._folder / lever.name)

    def pulled(self, lever: Lever) -> bool:
        """Whether it waits for a worker."""
        return (self._folder / lever.name).exists()

    def ail(self, ailment: str) -> None:
        """All workers, until they are cured."""
        (self._folder / ailment).touch()

    def cure(self, ailment: str) -> None:
        (self._folder / ailment).unlink(missing_ok=True)

    def ails(self, ailment: str) -> bool:
        """Whether they ail of it."""
        return (self._folder / ailment).exists()

    def reach(self, step: str, moment: Moment) -> None:
        """A worker has come to a step."""
        file = self._folder / f"{step}.{moment}"
        if not file.exists():
            return
        with suppress(FileNotFoundError):
            lever = Lever(**json.loads(file.read_text(encoding="utf-8")))
            file.unlink()
            _act(lever)


def _act(lever: Lever) -> None:
    if lever.act == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif lever.act == "terminate":
        os.kill(os.getppid(), signal.SIGTERM)
    elif lever.act == "sleep":
        time.sleep(lever.seconds)
    else:
        raise BufferError("the queue is full, says the lever")


def lay(levers: Levers) -> None:
    """Put the levers into the steps of this process, before anything is built."""
    for owner, method, step in (
        (ClaimConsumer, "receive", "poll"),
        (ClaimConsumer, "commit", "commit"),
        (Admission, "admit", "admit"),
        (Scorer, "score", "score"),
        (Delivery, "deliver", "deliver"),
        (ClaimProducer, "send", "send"),
        (TransactionalProducer, "send", "send"),
        (OffsetLedger, "complete", "complete"),
    ):
        setattr(owner, method, _at(levers, getattr(owner, method), _named(step)))
    # Here the step is the name of the client's call.
    call = ClientCalls.patiently
    ClientCalls.patiently = _at(levers, call, lambda given: given[1])  # type: ignore[method-assign]
    assembly._build = _at(levers, assembly._build, _named("load"))  # noqa: SLF001
    stream.producer._handed_over = _at(levers, stream.producer._handed_over, lambda _: "hand over")  # noqa: SLF001


def _named(step: str) -> Callable[[tuple[Any, ...]], str]:
    return lambda _: step


def _at(
    levers: Levers, function: Callable[..., Any], step_of: Callable[[tuple[Any, ...]], str]
) -> Callable[..., Any]:
    @wraps(function)
    def reached(*given: Any, **named: Any) -> Any:
        step = step_of(given)
        levers.reach(step, "before")
        answer = function(*given, **named)
        levers.reach(step, "after")
        return answer

    return reached
