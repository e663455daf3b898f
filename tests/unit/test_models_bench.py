"""The simulated benchmarks of the model cache: nothing is lost in them, and they can tell good from bad."""

from __future__ import annotations

import pytest

from bench.gathering import SETTINGS, SIZES, THIRD, Setting, Simulation, _arrivals
from bench.model_mix import mixed_models, replay, requests
from stream.load_policy import LoadReason, due


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_claim_is_scored_whichever_way_models_are_loaded(setting: Setting) -> None:
    arrivals = _arrivals(setting, 5.0, 1)
    at_once = Simulation(setting, lambda _lane, _now: LoadReason.ROOM).run(arrivals)
    gathered = Simulation(setting, due).run(arrivals)
    for outcome in (at_once, gathered):
        assert sum(len(each) for each in outcome.latencies.values()) == len(arrivals)
        assert min(each.min() for each in outcome.latencies.values() if len(each)) > 0.0
    assert gathered.loads < at_once.loads


def test_two_models_that_fit_are_loaded_once() -> None:
    arrivals = [each for each in _arrivals(SETTINGS[0], 5.0, 1) if each[1] != THIRD]
    assert Simulation(SETTINGS[0], due).run(arrivals).loads == len(SIZES) - 1


def test_the_parts_of_the_mix_add_up() -> None:
    models = mixed_models()
    assert len(models) == 12
    assert sum(model.share for model in models.values()) == pytest.approx(1.0)


def test_an_hour_of_the_mix_is_the_same_every_time() -> None:
    models = mixed_models()
    assert list(requests(models, 0.2, 3, 1)) == list(requests(models, 0.2, 3, 1))
    rates, efficiency = replay(0.2, 1, 4_000_000_000)
    assert rates.l1 is not None
    assert 0.5 < rates.l1 < 1.0
    assert 0.0 < efficiency <= 1.0
