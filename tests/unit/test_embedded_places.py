"""Where the embedded broker runs: Java, ports, folders."""

from __future__ import annotations

import errno
import socket
import tempfile
from pathlib import Path

import pytest

from stream.embedded import java
from stream.embedded.broker import EmbeddedKafka
from stream.embedded.ports import free_ports, is_free, require_free
from stream.embedded.properties import Node
from stream.embedded.storage import cluster_identity, node_folders, prepare, temporary_folder
from stream.errors import UsageError


def system_java(folder: Path, version: str) -> Path:
    program = folder / "java"
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-04-15' >&2\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("version", ["17.0.15", "21", "25-ea"])
def test_recent_system_java_is_preferred(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    program = system_java(tmp_path, version)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert java.java_executable() == program


@pytest.mark.parametrize("version", ["1.8.0_402", "11.0.2", "unheard-of"])
def test_old_system_java_gives_way_to_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    program = system_java(tmp_path, version)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = java.java_executable()
    assert found != program
    assert found.is_file()


def test_free_ports_differ_and_can_be_listened_on() -> None:
    ports = free_ports(6)
    assert len(set(ports)) == 6
    assert all(map(is_free, ports))


def test_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} of 127.0.0.1 is in use"):
            require_free(port)


def test_folder_of_another_cluster_size_is_refused(tmp_path: Path) -> None:
    for folder in node_folders(tmp_path, 3):
        folder.mkdir()
    assert len(node_folders(tmp_path, 3)) == 3
    with pytest.raises(UsageError, match="holds a cluster of 3 brokers, not 1"):
        node_folders(tmp_path, 1)


def test_folder_with_a_comma_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="takes the comma for a separator"):
        node_folders(tmp_path / "a,b", 1)


def test_cluster_identity_is_kept_and_never_looks_like_an_option(tmp_path: Path) -> None:
    found = [cluster_identity(tmp_path / str(number)) for number in range(300)]
    assert not [each for each in found if each.startswith("-")]
    assert {len(each) for each in found} == {22}
    assert cluster_identity(tmp_path / "0") == found[0]


def test_an_identity_that_was_written_in_part_is_nobodys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(path: Path, text: str) -> None:
        path.write_bytes(text.encode()[:5])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", cut_off)
        with pytest.raises(OSError, match="No space left"):
            cluster_identity(tmp_path / "cluster-id")
    assert len(cluster_identity(tmp_path / "cluster-id")) == 22


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder can be made below a file")
    node = Node(1, 1, 2, blocked / "data" / "broker-1", 3)
    with pytest.raises(UsageError, match=f"Kafka cannot keep data in {blocked / 'data'}: .*Not a directory"):
        prepare([], [node], {})
    monkeypatch.setattr(tempfile, "tempdir", str(blocked))
    with pytest.raises(UsageError, match=r"no temporary folder for kafka: .*; name another in TMPDIR"):
        temporary_folder("kafka")


def test_two_brokers_are_refused() -> None:
    with pytest.raises(UsageError, match="1 or 3 brokers, not 2"):
        EmbeddedKafka(2)
