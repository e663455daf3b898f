"""The manifest agrees with the program, the image and the alerts; no cluster is needed to see that."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import yaml

from config import Settings, load_settings
from models.tiers.pool import SHARED_MEMORY
from stream.admin import application
from stream.process import LEAVE_SECONDS

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS: dict[str, dict[str, Any]] = {
    document["kind"]: document
    for document in yaml.safe_load_all((ROOT / "docs" / "kubernetes.yaml").read_text(encoding="utf-8"))
}
POD: dict[str, Any] = DOCUMENTS["StatefulSet"]["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
MOUNTS = {mount["name"]: Path(mount["mountPath"]) for mount in CONTAINER["volumeMounts"]}
VOLUMES = {volume["name"]: volume for volume in POD["volumes"]}


def settings(folder: Path) -> Settings:
    """As the container reads them: the image's variables, its own, and the file of the map."""
    variables = {entry["name"]: entry.get("value", "a secret") for entry in CONTAINER["env"]}
    ((name, text),) = DOCUMENTS["ConfigMap"]["data"].items()
    assert Path(variables["CLAIMSTREAM_CONFIG"]) == MOUNTS["configuration"] / name
    (folder / name).write_text(text, encoding="utf-8")
    return load_settings(folder / name, {**variables, "CLAIMSTREAM_HTTP__HOST": "0.0.0.0"}, {})


def test_the_stage_understands_its_configuration(tmp_path: Path) -> None:
    read = settings(tmp_path)
    assert read.kafka.client["sasl.password"] == "a secret"
    assert read.cache.repository == str(MOUNTS["models"])


def test_what_it_names_is_there() -> None:
    names = {kind: document["metadata"]["name"] for kind, document in DOCUMENTS.items()}
    assert VOLUMES["configuration"]["configMap"]["name"] == names["ConfigMap"]
    assert VOLUMES["models"]["persistentVolumeClaim"]["claimName"] == names["PersistentVolumeClaim"]
    assert DOCUMENTS["StatefulSet"]["spec"]["serviceName"] == names["Service"]
    assert VOLUMES.keys() == MOUNTS.keys()


def test_every_selector_finds_the_pods() -> None:
    labels = DOCUMENTS["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        DOCUMENTS["Service"]["spec"]["selector"],
        DOCUMENTS["StatefulSet"]["spec"]["selector"]["matchLabels"],
        DOCUMENTS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        DOCUMENTS["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        *(spread["labelSelector"]["matchLabels"] for spread in POD["topologySpreadConstraints"]),
    ]
    assert all(selector == labels for selector in selectors)


def test_its_port_is_that_of_the_endpoints_and_its_probes_ask_for_what_they_have(tmp_path: Path) -> None:
    assert CONTAINER["ports"] == [{"name": "http", "containerPort": settings(tmp_path).http.port}]
    assert DOCUMENTS["Service"]["spec"]["ports"] == [{"name": "http", "port": settings(tmp_path).http.port}]
    assert DOCUMENTS["NetworkPolicy"]["spec"]["ingress"][0]["ports"] == [{"port": "http"}]
    paths = {route.path for route in application(Mock(return_value=Mock()), *[Mock()] * 4, None).routes}  # type: ignore[attr-defined]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = CONTAINER[probe]["httpGet"]
        assert asked["port"] == "http"
        assert asked["path"] in paths


def test_it_has_time_to_drain_and_room_for_the_models(tmp_path: Path) -> None:
    read = settings(tmp_path)
    assert POD["terminationGracePeriodSeconds"] >= read.latency.drain_timeout_s + LEAVE_SECONDS + 10
    shared = VOLUMES["memory"]["emptyDir"]
    assert MOUNTS["memory"] == SHARED_MEMORY
    assert int(shared["sizeLimit"].removesuffix("Mi")) * 2**20 > read.cache.l1_memory_gb * 1e9
    # As docs/operations.md adds it up.
    worker = 0.7e9 + 2.25 * read.limits.bytes_in_flight + 64e6
    memory = int(CONTAINER["resources"]["limits"]["memory"].removesuffix("Gi")) * 2**30
    assert memory > read.cache.l1_memory_gb * 1e9 + read.workers.processes * worker


def test_it_runs_as_the_user_of_the_image_and_may_do_nothing_more() -> None:
    user = f"{POD['securityContext']['runAsUser']}:{POD['securityContext']['runAsGroup']}"
    assert f"\nUSER {user}\n" in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert POD["securityContext"]["runAsNonRoot"]
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }


def test_alerts_look_for_its_container() -> None:
    alerts = (ROOT / "docs" / "alerts.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r'container="(\w+)"', alerts)) == {CONTAINER["name"]}
