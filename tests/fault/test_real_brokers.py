"""Every fault of the table strikes a running stage once, on a real broker, in each mode of delivery."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.real_faults.clusters import Clusters
from bench.real_faults.scene import UnavailableError
from bench.real_faults.table import FAULTS
from bench.real_faults.trial import Fault, run
from stream.errors import ClaimstreamError
from tests.conftest import missing

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

CASES = [pytest.param(fault, mode, id=f"{fault.name}-{mode}") for fault in FAULTS for mode in fault.modes]


@pytest.fixture(scope="module")
def clusters() -> Iterator[Clusters]:
    brokers = Clusters()
    yield brokers
    brokers.close()


@pytest.mark.parametrize(("fault", "mode"), CASES)
def test_each_claim_has_its_answer_after(fault: Fault, mode: str, clusters: Clusters, tmp_path: Path) -> None:
    try:
        cluster = clusters.get(fault.cluster)
    except (ClaimstreamError, ModuleNotFoundError) as error:
        missing(f"no Kafka: {error}")
    try:
        trial = run(fault, mode, cluster, tmp_path, seed=1)
    except UnavailableError as error:
        pytest.skip(str(error))
    assert trial.sound, f"{trial}; logs in {tmp_path}"
    assert trial.published > 0
