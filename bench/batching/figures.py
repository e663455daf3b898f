"""Claims on time with the stage's policy, against the most that can be and against the rules that servers use."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.batching.cases import BUDGETS, CURVES, LARGEST, LIMITS, Case, capacity, cases
from bench.batching.optimum import most_on_time
from bench.batching.overload import Course, Overload, overload
from bench.batching.plot import goodput_plot, latencies_plot, sizes_plot
from bench.batching.quiet import Decisions, decisions
from bench.batching.rivals import Best, best_rivals
from bench.batching.showcase import STAGE, bursty, loads, with_policy
from bench.batching.simulator import World, simulate
from bench.report import Figure
from stream.batching import BatchingRules
from stream.cost_model import LatencyCurve
from stream.publishing.workload import Mix, workload

_SEED = 11
_NOISE = 0.1
# A bound that stays 1 with a server so much slower leaves room for not knowing what comes.
_SLOWER = 1.1
# Of the claims, to two models.
_SHARES = ((0.5, 0.5), (0.95, 0.05))


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """Shares of a case's claims that are on time: at most, with the policy, and with the best setting of each rule.

    `noisy`: the policy learns the curve while batches take 10 % more or less; `uneven`: half of a claim's time goes
    with its tokens, whose distribution has a heavy tail.
    """

    case: Case
    bound: float
    feasible: bool
    policy: float
    noisy: float
    uneven: float
    rivals: dict[str, Best]

    @property
    def against_rivals(self) -> float:
        """The policy's share ÷ that of the best of all rules."""
        return self.policy / max(best.on_time for best in self.rivals.values())


def measure(*, quick: bool, plots: Path) -> list[Figure]:
    """What is timed comes first, on a quiet machine. Quick: fewer and shorter traces."""
    timed = decisions(quick=quick)
    outcomes = [outcome(each) for each in cases(800 if quick else 1_200, _SEED, quick=quick)]
    overloads = _overloads(quick=quick)
    _plots(plots, quick=quick)
    return [*goodput(outcomes), *overloads, *_decisions(timed)]


def outcome(case: Case) -> Outcome:
    """One case, with the policy as it is and as it has to learn, the rules and the bound."""
    claims = len(case.times)
    bound = most_on_time(case.times, case.curve.slower(_SLOWER), case.budget, LARGEST)
    feasible = bound == claims
    if not feasible:
        bound = most_on_time(case.times, case.curve, case.budget, LARGEST)
    return Outcome(
        case,
        bound / claims,
        feasible,
        with_policy(case).on_time(case.budget),
        _learning(case),
        _uneven(case),
        best_rivals(case.times, case.curve, case.budget, LARGEST),
    )


def _learning(case: Case) -> float:
    return simulate(case.times, World((case.curve,), noise=_NOISE), _rules(case)).on_time(case.budget)


def _uneven(case: Case) -> float:
    trace = workload(case.times, Mix(), _SEED)
    half = case.curve.each / 2
    curve = LatencyCurve(case.curve.fixed, half)
    world = World((curve,), per_token=half / float(trace.tokens.mean()))
    return simulate(trace, world, _rules(case)).on_time(case.budget)


def _rules(case: Case) -> BatchingRules:
    return BatchingRules(LIMITS, case.budget)


def goodput(outcomes: list[Outcome]) -> list[Figure]:
    """The figures of claims on time."""
    feasible = [o for o in outcomes if o.feasible]
    beyond = [o for o in outcomes if not o.feasible]
    return [
        _worst("goodput_feasible", feasible, "policy", "≥ 0.99"),
        _mean("goodput_overload", beyond, "policy", "≥ 0.85"),
        _worst("goodput_overload_worst", beyond, "policy", "≥ 0.60"),
        _vs_rivals(outcomes),
        _worst("goodput_feasible_noisy", feasible, "noisy", ""),
        _mean("goodput_overload_noisy", beyond, "noisy", ""),
        _worst("goodput_feasible_uneven", feasible, "uneven", ""),
        _mean("goodput_overload_uneven", beyond, "uneven", ""),
    ]


def _share(outcome: Outcome, kind: str) -> float:
    return float(getattr(outcome, kind)) / outcome.bound


def _worst(name: str, outcomes: list[Outcome], kind: str, goal: str) -> Figure:
    ranked = sorted(outcomes, key=lambda o: _share(o, kind))
    lowest = "; ".join(f"{_share(o, kind):.3f} {o.case}" for o in ranked[:3])
    return Figure(
        name,
        _share(ranked[0], kind),
        "of the bound",
        goal,
        f"worst of {len(ranked)} cases: {lowest}",
    )


def _mean(name: str, outcomes: list[Outcome], kind: str, goal: str) -> Figure:
    def mean(some: Iterable[Outcome]) -> float:
        return statistics.geometric_mean(_share(o, kind) for o in some)

    patterns = ", ".join(
        f"{pattern} {mean(o for o in outcomes if o.case.pattern == pattern):.2f}"
        for pattern in dict.fromkeys(o.case.pattern for o in outcomes)
    )
    rules = ", ".join(
        f"{rule} {np.exp(np.mean([np.log(max(o.rivals[rule].on_time, 1e-3) / o.bound) for o in outcomes])):.2f}"
        for rule in outcomes[0].rivals
    )
    note = f"geometric mean of {len(outcomes)} cases; {patterns}; beside it {rules}"
    return Figure(name, mean(outcomes), "of the bound", goal, note)


def _vs_rivals(outcomes: list[Outcome]) -> Figure:
    ranked = sorted(outcomes, key=lambda o: o.against_rivals)
    below = [o for o in ranked if o.against_rivals < 1.0]
    named = "; ".join(f"{o.against_rivals:.3f} {o.case}, {_best(o)}" for o in below[:3])
    note = f"{len(below)} of {len(ranked)} cases below the best setting of any rule, chosen with hindsight"
    return Figure(
        "goodput_vs_rivals",
        ranked[0].against_rivals,
        "x",
        "≥ 1.0",
        f"{note}: {named}" if below else note,
    )


def _best(outcome: Outcome) -> str:
    rule, best = max(outcome.rivals.items(), key=lambda item: item[1].on_time)
    return f"{rule} of {best.setting}"


def _overloads(*, quick: bool) -> list[Figure]:
    course = Course(lasts=4.0, rest=8.0) if quick else Course()
    settings = [(CURVES[0], BUDGETS[1])] if quick else [(curve, b) for curve in CURVES for b in BUDGETS]
    alone = [_one_overload(course, *setting, (1.0,)) for setting in settings]
    shared = [_one_overload(course, *setting, shares) for setting in settings for shares in _SHARES]
    longest = max((each.found for each in alone), key=lambda found: found.recovery)
    load = f"{course.overload:g} times the most claims a second for {course.lasts:g} s"
    return [
        _slowest("throughput_overload", load, alone),
        _slowest("throughput_overload_two_models", load, shared),
        Figure(
            "recovery_s",
            longest.recovery,
            "s",
            "",
            f"after {load}, then {course.afterwards:g} of what can be on time, until all are on time; the "
            f"longest of {len(alone)}; to score what was left by then takes {longest.least:.2f}",
        ),
    ]


@dataclass(frozen=True, slots=True)
class _Overloaded:
    found: Overload
    setting: str


def _one_overload(
    course: Course, curve: LatencyCurve, budget: float, shares: tuple[float, ...]
) -> _Overloaded:
    each = f", {shares[-1]:g} of the claims for the second model" if len(shares) > 1 else ""
    setting = f"{curve.fixed * 1_000:g} ms fixed, {budget * 1_000:g} ms budget{each}"
    return _Overloaded(overload(curve, budget, course, shares=shares), setting)


def _slowest(name: str, load: str, every: list[_Overloaded]) -> Figure:
    worst = min(every, key=lambda each: each.found.throughput)
    note = f"{load}, its second half; worst of {len(every)}: {worst.setting}"
    return Figure(name, worst.found.throughput, "of the most", "≥ 0.97", note)


def _decisions(timed: Decisions) -> list[Figure]:
    return [
        Figure(
            "decision_us",
            timed.batch,
            "µs",
            "≤ 20",
            "median a batch: to close it and to learn from it",
        ),
        Figure("planning_us", timed.planning, "µs", "≤ 300", "median of those that gave claims up"),
        Figure(
            "deciding_share",
            timed.share * 100,
            "%",
            "≤ 2",
            "of the scoring loop's time at 10,000 claims a second, decisions to wait included",
        ),
    ]


def _plots(plots: Path, *, quick: bool) -> None:
    case, served, rivals = bursty(2_000)
    latencies_plot({STAGE: served} | rivals, case.budget, plots / "batching_latency.png")
    sizes_plot(served, capacity(case.curve, case.budget), plots / "batching_sizes.png")
    goodput_plot(loads(600 if quick else 2_000, quick=quick), plots / "batching_goodput.png")
