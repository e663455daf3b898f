"""Preparing a broker's folder: KRaft wants its data folder formatted with the identity of the cluster."""

from __future__ import annotations

import base64
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from stream.embedded.properties import Node, server_properties
from stream.errors import FatalError, UsageError

_FORMAT_SECONDS = 60.0


def node_folders(folder: Path, count: int) -> list[Path]:
    """One folder a broker. Raises UsageError when `folder` holds another cluster or Kafka cannot use it."""
    wanted = [folder / f"broker-{number}" for number in range(1, count + 1)]
    present = set(folder.glob("broker-*"))
    if present and present != set(wanted):
        raise UsageError(
            f"{folder} holds a cluster of {len(present)} brokers, not {count}; use another folder"
        )
    if "," in str(folder):
        raise UsageError(f"Kafka cannot keep data in {folder}: it takes the comma for a separator")
    return wanted


def prepare(java: Sequence[str], nodes: Sequence[Node], overrides: Mapping[str, str]) -> None:
    """Write every node's configuration, format new folders. Raises FatalError with Kafka's reason."""
    for node in nodes:
        node.folder.mkdir(parents=True, exist_ok=True)
        node.configuration.write_text(server_properties(node, nodes, overrides))
    cluster = _cluster_identity(nodes[0].folder / "cluster-id")
    fresh = [node for node in nodes if not (node.data / "meta.properties").exists()]
    command = [*java, "kafka.tools.StorageTool", "format", "-t", cluster, "-c"]
    running = [
        subprocess.Popen(
            [*command, str(node.configuration)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for node in fresh
    ]
    for node, process in zip(fresh, running, strict=True):
        output, _ = process.communicate(timeout=_FORMAT_SECONDS)
        if process.returncode != 0:
            raise FatalError(f"{node.folder} could not be formatted for Kafka:\n{output}")


def _cluster_identity(kept: Path) -> str:
    """The same for all nodes and at every start: base64 of a UUID."""
    if not kept.exists():
        kept.write_text(base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode())
    return kept.read_text()
