"""Plans written down: a schedule that failed once is kept as it was, whatever becomes of the generator."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.faults.claims import Claim, pool
from bench.faults.claims import Kind as ClaimKind
from bench.faults.plan import Change, Disturbance, Kind, Plan, Publication, Turn
from stream.embedded.simulated import Effect, Fault, Step

FOLDER = Path(__file__).parent / "regressions"


@dataclass(frozen=True, slots=True)
class Regression:
    """A plan, and the orders of its steps in which what was found showed. `found`: what that was.

    The order depends on every call that the stage makes of its surroundings, and so no single one is sure to show it
    again; several are kept.
    """

    name: str
    found: str
    mode: str
    orders: tuple[int, ...]
    plan: Plan


def regressions() -> list[Regression]:
    """All that are kept, by name."""
    return [_read(path) for path in sorted(FOLDER.glob("*.json"))]


def as_json(plan: Plan) -> dict[str, Any]:
    """What a file of `regressions` has as its plan: claims by their place in the pool, enumerations by value."""
    places = {
        claim: [kind.value, place] for kind, claims in pool().items() for place, claim in enumerate(claims)
    }
    return {
        **asdict(plan),
        "publications": [
            [
                each.at,
                None if each.key is None else each.key.decode(),
                *places[each.claim],
                [[name, None if value is None else value.hex()] for name, value in each.headers],
            ]
            for each in plan.publications
        ],
        "disturbances": [
            [each.at, each.kind.value, each.worker, each.seconds, each.amount, each.step.value, *_fault(each)]
            for each in plan.disturbances
        ],
        "changes": [[each.at, each.turn.value, each.amount] for each in plan.changes],
    }


def from_json(content: Mapping[str, Any]) -> Plan:
    """The plan that was written. Raises KeyError or ValueError for what was not written so."""
    return Plan(
        **{
            **content,
            "publications": tuple(_publication(*each) for each in content["publications"]),
            "disturbances": tuple(_disturbance(*each) for each in content["disturbances"]),
            "changes": tuple(Change(at, Turn(turn), amount) for at, turn, amount in content["changes"]),
            "silence": None if content["silence"] is None else tuple(content["silence"]),
        }
    )


def _read(path: Path) -> Regression:
    content = json.loads(path.read_text(encoding="utf-8"))
    return Regression(
        path.stem, content["found"], content["mode"], tuple(content["orders"]), from_json(content["plan"])
    )


def _fault(disturbance: Disturbance) -> tuple[str, int]:
    return disturbance.fault.effect.value, disturbance.fault.code


def _publication(
    at: float, key: str | None, kind: str, place: int, headers: Sequence[tuple[str, str | None]] = ()
) -> Publication:
    """`headers`: values in hexadecimal digits; plans that were written before there were any have none."""
    claim: Claim = pool()[ClaimKind(kind)][place]
    found = tuple((name, None if value is None else bytes.fromhex(value)) for name, value in headers)
    return Publication(at, None if key is None else key.encode(), claim, found)


def _disturbance(
    at: float, kind: str, worker: int, seconds: float, amount: float, step: str, effect: str, code: int
) -> Disturbance:
    fault = Fault(Effect(effect), code)
    return Disturbance(at, Kind(kind), worker, seconds, amount, Step(step), fault)
