"""Every command of the README and of the page for applications, run as it stands, in order."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from stream.audit_topics import messages
from stream.embedded.downloads import fetched
from stream.embedded.java import java_executable
from stream.embedded.maven import download
from stream.errors import FatalError
from tests.conftest import SchemaRegistry
from tests.documents import PAGES, ROOT, Shell, commands, files, text_of
from tests.stage import await_that

README = commands(text_of("README.md"))
APPLICATIONS = text_of("docs/applications.md")
# They install into the repository, or run everything; each is run by whoever builds and by CI.
INSTALLS = ("python3 -m venv", ".venv/bin/python -m pip")
WHOLE = [command for command in README if command.startswith(("make ", *INSTALLS))]
ENDS = [command for command in README if command.startswith("kill ")]
SERVICES = [command for command in README if re.search(r" (broker|run) .*&$| topics create ", command)]
TOOLS = {
    "kafka-topics.sh": "org.apache.kafka.tools.TopicCommand",
    "kafka-get-offsets.sh": "org.apache.kafka.tools.GetOffsetShell",
    "kafka-consumer-groups.sh": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-console-consumer.sh": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "kafka-console-producer.sh": "org.apache.kafka.tools.ConsoleProducer",
}
# Pages without services of their own: a broker, a stage and the data run for all of them.
OTHERS = [page for page in PAGES if page.name not in ("README.md", "CONTRIBUTING.md", "applications.md")]
DATA = {
    "claims.csv.gz": "tuva/medical_claim_sample.csv.gz",
    "tsa_claims_2010_2013.csv.gz": "tsa/tsa_claims_2010_2013.csv.gz",
}
TOOLS_SHA256 = "894caaca48b11d351cbe1f27d58c7a3c09ff22563bf3ab4bccf1ef69933e099c"


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    started = Shell(tmp_path)
    yield started
    started.end()


@pytest.fixture
def running(shell: Shell) -> Shell:
    """A broker, the topics and a stage, as the README starts them, with a token."""
    for name in ("CLAIMSTREAM_HTTP__TOKEN", "TOKEN"):
        shell.run(f"export {name}=of-this-test")
    assert len(SERVICES) == 3
    for command in SERVICES:
        shell.run(command)
    return shell


@pytest.mark.timeout(300)
def test_every_command_does_what_the_readme_and_the_page_for_applications_say(shell: Shell) -> None:
    said = {command: shell.run(command) for command in README if command not in (*WHOLE, *ENDS)}
    tail = next(text for command, text in said.items() if "claimstream tail" in command)
    assert len([line for line in tail.splitlines() if "claims_filter" in line]) == 5
    listed = next(text for command, text in said.items() if "models list" in command)
    assert re.search(r"claims_filter +2\.2\.0 .*production, latest", listed)
    assert (
        next(text for command, text in said.items() if command.startswith("curl") and "readyz" in command)
        == "ready\n"
    )
    shell.write(files(APPLICATIONS))
    make_dead_letters(shell, 1)
    for command in commands(APPLICATIONS):
        if not command.startswith("kafka-"):
            said[command] = shell.run(command)
    letters = said["python dead_letters.py 127.0.0.1:9092 claim-dead-letters my-dead-letters"]
    assert re.fullmatch(r"claims\[\d\]@\d+ DecodeError the value begins with .*\n", letters)
    consumed = said["python consume.py 127.0.0.1:9092 claim-scores my-application 2"]
    assert (
        len(re.findall(r"^\S+ claims_filter 2\.1\.0 [01]\.\d{3} (?:pass|review)$", consumed, re.MULTILINE))
        == 2
    )
    own = said["python consume.py 127.0.0.1:9092 submitted-scores own-application 2"]
    assert re.findall(r"^(\S+) (\S+)", own, re.MULTILINE) in (
        [("A-1", "claims_filter"), ("A-2", "null")],
        [("A-2", "null"), ("A-1", "claims_filter")],
    )
    keys = [message.key() for message in messages({"bootstrap.servers": shell.bootstrap}, "claim-scores")]
    assert keys.count(b"M-17") >= 2
    assert len(ENDS) == 2
    for command in ENDS:
        shell.run(command)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_claims_come_in_through_a_schema_registry(shell: Shell, schema_registry: SchemaRegistry) -> None:
    shell.write(files(APPLICATIONS))
    shell.run(f"export CLAIMSTREAM_SCHEMAS__REGISTRY_URL={schema_registry.url}")
    for command in SERVICES:
        shell.run(command)
    shell.run(f"python publish_registry.py 127.0.0.1:9092 claims {schema_registry.url}")
    assert shell.run("python consume.py 127.0.0.1:9092 claim-scores mine 1").startswith(
        "registered-1 claims_filter"
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_kafkas_own_tools_show_what_the_page_says(running: Shell) -> None:
    install_tools(running.folder)
    running.run("claimstream publish --generate 20 --bootstrap 127.0.0.1:9092")
    running.run("echo no claim | kafka-console-producer.sh --bootstrap-server 127.0.0.1:9092 --topic claims")
    running.run("claimstream tail --from-beginning --count 20 --bootstrap 127.0.0.1:9092")
    said = [running.run(command) for command in commands(APPLICATIONS) if command.startswith("kafka-")]
    for text, expected in zip(
        said, ("PartitionCount: 4", "claim-scores:3:", "claims", "DecodeError"), strict=True
    ):
        assert expected in text
    (reset,) = re.findall(
        r"^    (kafka-consumer-groups\.sh .*)$", text_of("docs/operations.md"), re.MULTILINE
    )
    # Of a group that runs Kafka refuses it.
    own = reset.replace("…", "127.0.0.1:9092").replace("claimstream", "newcomer")
    assert re.search(r"newcomer +claims +3 +\d+", running.run(own))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_commands_of_the_other_pages(running: Shell, data_folder: Path) -> None:
    running.run("claimstream publish --generate 200 --bootstrap 127.0.0.1:9092")
    make_dead_letters(running)
    for name, file in DATA.items():
        (running.folder / name).symlink_to(data_folder / file)
    ran: list[str] = []
    for page in OTHERS:
        running.write(files(page.read_text(encoding="utf-8")))
        for command in commands(page.read_text(encoding="utf-8")):
            if not command.startswith(INSTALLS):
                running.run(completed(command))
                ran.append(command)
    assert any(command.startswith("claimstream dlq") for command in ran)


def completed(command: str) -> str:
    """A command whose page leaves out what is the same in all of them, or takes minutes."""
    if "models train" in command and "--data" not in command:
        # Of the shape of the shipped model.
        command += " --claims 1000 --epochs 1"
    if re.search(r"claimstream (publish|tail) ", command) and "--bootstrap" not in command:
        command += " --bootstrap 127.0.0.1:9092"
    return command


def make_dead_letters(shell: Shell, count: int = 200) -> None:
    """So many, of so many keys, that those exist which the page names."""
    client = {"bootstrap.servers": shell.bootstrap}
    producer = Producer(client)
    for number in range(count):
        producer.produce("claims", b"no claim", key=f"key {number}")
    assert producer.flush(10) == 0
    await_that(lambda: len(list(messages(client, "claim-dead-letters"))) == count)


def install_tools(folder: Path) -> None:
    """Kafka's scripts as its distribution has them: each starts one class of the tools."""
    try:
        download("org.apache.kafka:kafka-tools:4.2.2:jar:", folder)
    except FatalError as error:
        pytest.skip(str(error))
    archive = folder / "kafka-tools-4.2.2.jar"
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == TOOLS_SHA256
    java = f"{shlex.quote(str(java_executable()))} -XX:TieredStopAtLevel=1"
    (folder / "bin").mkdir()
    for name, tool in TOOLS.items():
        script = folder / "bin" / name
        script.write_text(f'#!/bin/sh\nexec {java} -cp "{archive}:{fetched("kafka")}/*" {tool} "$@"\n')
        script.chmod(0o755)


def test_the_two_commands_are_in_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^demo:", makefile, re.MULTILINE)
    assert re.search(r"^test:", makefile, re.MULTILINE)
