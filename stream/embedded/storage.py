"""Preparing a broker's folder: KRaft wants its data folder formatted with the identity of the cluster."""

from __future__ import annotations

import base64
import subprocess
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from stream.embedded.properties import Node, Security, scram_users, server_properties
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


def temporary_folder(owner: str) -> Path:
    """A new one for the data of Kafka, Redis or the registry. Raises UsageError where there can be none."""
    try:
        return Path(tempfile.mkdtemp(prefix=f"claimstream-{owner}-"))
    except OSError as error:
        raise UsageError(
            f"there is no temporary folder for {owner}: {error}; name another in TMPDIR"
        ) from error


def prepare(
    java: Sequence[str],
    nodes: Sequence[Node],
    overrides: Mapping[str, str],
    security: Security | None = None,
) -> None:
    """Write every node's configuration, format new folders.

    Raises FatalError with Kafka's reason, UsageError for a folder that cannot be used.
    """
    try:
        cluster, fresh = _written(nodes, overrides, security)
    except OSError as error:
        folder = nodes[0].folder.parent
        raise UsageError(f"Kafka cannot keep data in {folder}: {error}; use another folder") from error
    users = [] if security is None else scram_users(security)
    with ThreadPoolExecutor(len(nodes)) as pool:
        for _ in pool.map(partial(_format, java, cluster, users), fresh):
            continue


def _written(
    nodes: Sequence[Node], overrides: Mapping[str, str], security: Security | None
) -> tuple[str, list[Node]]:
    """The identity of the cluster, and the nodes that are not formatted yet. Raises OSError."""
    for node in nodes:
        node.folder.mkdir(parents=True, exist_ok=True)
        node.configuration.write_text(server_properties(node, nodes, overrides, security))
    cluster = cluster_identity(nodes[0].folder / "cluster-id")
    return cluster, [node for node in nodes if not (node.data / "meta.properties").exists()]


def cluster_identity(kept: Path) -> str:
    """The same for all nodes and at every start: base64 of a UUID; it must not begin with a dash."""
    if not kept.exists():
        identity = uuid.uuid4().bytes
        positive = bytes([identity[0] & 0x7F]) + identity[1:]
        # What was written in part would be the cluster's name for ever.
        aside = kept.with_suffix(".new")
        aside.write_text(base64.urlsafe_b64encode(positive).rstrip(b"=").decode())
        aside.replace(kept)
    return kept.read_text()


def _format(java: Sequence[str], cluster: str, users: Sequence[str], node: Node) -> None:
    tool = [*java, "kafka.tools.StorageTool", "format"]
    command = [*tool, "-t", cluster, "-c", str(node.configuration), *users]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_FORMAT_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise FatalError(
            f"{node.folder} was not formatted for Kafka within {_FORMAT_SECONDS:.0f} s"
        ) from error
    if answer.returncode != 0:
        raise FatalError(f"{node.folder} could not be formatted for Kafka:\n{answer.stdout}{answer.stderr}")
