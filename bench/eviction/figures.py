"""Load-seconds of the shipped policy against the offline bound and against the rules that caches use."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.eviction.optimum import least_load_seconds
from bench.eviction.plot import ratios_plot
from bench.eviction.replay import Policy, load_seconds
from bench.eviction.rivals import REFUSING, RULES, Rule
from bench.eviction.traces import KINDS, Trace, reload_cost, trace
from bench.report import Figure
from models.eviction import Held, Incoming, Rules, admit
from models.priority import ModelPriority

BUDGETS = (1_500_000_000, 3_000_000_000)
LOOK_AHEAD = 20
BLIND, AHEAD = "claimstream", f"claimstream, next {LOOK_AHEAD} known"
# Whatever was chosen in policy and demand was chosen on seeds 100 to 105.
_SEEDS = (11, 12, 13)
_MODELS, _DECISIONS = 30, 300


@dataclass(frozen=True, slots=True)
class Outcome:
    """One trace through one cache: load-seconds of each rule ÷ those of the bound."""

    kind: str
    budget: int
    seed: int
    ratios: dict[str, float]

    def against(self, name: str, rules: Iterable[str]) -> float:
        """A rule's load-seconds ÷ those of the best of these."""
        return self.ratios[name] / min(self.ratios[rule] for rule in rules)


def measure_eviction(*, quick: bool, plots: Path) -> list[Figure]:
    """Four kinds of traffic, two caches, every rule. Quick: one seed and a third of the requests."""
    outcomes = [
        _outcome(trace(kind, seed, 1_000 if quick else 3_000), budget, seed)
        for seed in (_SEEDS[:1] if quick else _SEEDS)
        for kind in KINDS
        for budget in BUDGETS
    ]
    ratios_plot(outcomes, plots / "eviction.png")
    return [
        _vs_optimum("eviction_vs_optimum", outcomes, AHEAD, "≤ 1.15"),
        _vs_optimum("eviction_vs_optimum_blind", outcomes, BLIND, "≤ 1.45"),
        _vs_rules("eviction_vs_best_rule", outcomes, RULES, "≤ 1.0"),
        _vs_rules("eviction_vs_best_refusing_rule", outcomes, [*RULES, *REFUSING], ""),
        _decision_time(quick=quick),
    ]


def _outcome(requests: Trace, budget: int, seed: int) -> Outcome:
    bound = least_load_seconds(requests, budget)
    rules: dict[str, Callable[[], Rule]] = {
        name: partial(rule, requests.models, budget) for name, rule in (RULES | REFUSING).items()
    }
    rules[BLIND] = partial(Policy, requests, budget)
    rules[AHEAD] = partial(Policy, requests, budget, LOOK_AHEAD)
    ratios = {name: load_seconds(requests, rule()) / bound for name, rule in rules.items()}
    return Outcome(requests.kind, budget, seed, ratios)


def _vs_optimum(name: str, outcomes: list[Outcome], rule: str, goal: str) -> Figure:
    ratios = [outcome.ratios[rule] for outcome in outcomes]
    others = ", ".join(
        f"{other} {statistics.geometric_mean(outcome.ratios[other] for outcome in outcomes):.2f}"
        for other in (*RULES, *REFUSING)
    )
    kinds = ", ".join(
        f"{kind} {statistics.geometric_mean(o.ratios[rule] for o in outcomes if o.kind == kind):.2f}"
        for kind in KINDS
    )
    seeds = len({outcome.seed for outcome in outcomes})
    return Figure(
        name,
        statistics.geometric_mean(ratios),
        "x",
        goal,
        f"geometric mean over {len(outcomes)} traces and caches, seeds not tuned on: {seeds}; "
        f"{min(ratios):.2f} to {max(ratios):.2f}; {kinds}; beside it {others}",
    )


def _vs_rules(name: str, outcomes: list[Outcome], rules: Iterable[str], goal: str) -> Figure:
    known = list(rules)
    blind = {outcome.against(BLIND, known): outcome for outcome in outcomes}
    worst = blind[max(blind)]
    ahead = max(outcome.against(AHEAD, known) for outcome in outcomes)
    return Figure(
        name,
        max(blind),
        "x",
        goal,
        f"worst of {len(outcomes)}, without look-ahead: {worst.kind}, {worst.budget / 1e9:g} GB, seed {worst.seed}; "
        f"geometric mean {statistics.geometric_mean(blind):.2f}; worst with the next {LOOK_AHEAD} known "
        f"{ahead:.2f}; best of {', '.join(known)}",
    )


def _decision_time(*, quick: bool) -> Figure:
    """Processor time of one decision among 30 residents, more than the traces ever hold."""
    draw = random.Random(1)
    times = []
    for _ in range(_DECISIONS // 10 if quick else _DECISIONS):
        *held, newcomer = (_resident(str(number), draw) for number in range(_MODELS + 1))
        incoming = Incoming(newcomer.key, newcomer.bytes, newcomer.cost, newcomer.demand, newcomer.priority)
        rules = Rules(max(incoming.bytes, sum(each.bytes for each in held)))
        started = time.process_time()
        admit(held, incoming, rules, 100.0)
        times.append((time.process_time() - started) * 1_000)
    return Figure(
        "eviction_decision",
        statistics.median(times),
        "ms",
        "≤ 1.0",
        f"median; slowest {max(times):.2f}",
    )


def _resident(key: str, draw: random.Random) -> Held:
    size = int(draw.uniform(10e6, 1.2e9))
    demand = 0.2 * draw.random() ** 3
    return Held(key, size, reload_cost(size), demand, ModelPriority.MEDIUM, False, False, 0.0, draw.random())
