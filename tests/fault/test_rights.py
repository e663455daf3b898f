"""Each command works with the rights that the page on security grants it, on a broker that denies everything else."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from stream.audit import Topics
from stream.audit_topics import messages
from stream.cli.main import run
from stream.embedded import EmbeddedKafka
from stream.embedded.properties import Security
from stream.letters import Reason
from stream.topics import TopicSpec, ensure_topics
from tests.certificates import Authority
from tests.documents import text_of
from tests.fault.test_secure_kafka import PASSWORD, command, options
from tests.stage import await_that, stage

pytestmark = pytest.mark.slow

TOPICS = Topics("claims", "claim-scores", "claim-dead-letters")
GUARDED = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",
}
OPERATIONS = {
    "Read": AclOperation.READ,
    "Write": AclOperation.WRITE,
    "Create": AclOperation.CREATE,
    "Describe": AclOperation.DESCRIBE,
    "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
}
KINDS = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional id": ResourceType.TRANSACTIONAL_ID,
}
WORDS = "|".join(OPERATIONS)
RIGHT = re.compile(rf"\b((?:{WORDS})(?: and (?:{WORDS}))?) on|({'|'.join(KINDS)}) `([^`]+)`")
ROW = re.compile(r"^\| (`(?:run|topics|publish|tail|dlq|audit)[^|]*) \| (.+) \|$", re.MULTILINE)
TEXTS = dict(ROW.findall(text_of("docs/security.md")))
NOBODY = "nobody"
USERS = {name: re.sub(r"\W+", "-", name).strip("-") for name in TEXTS}


def rights(name: str) -> Iterator[AclBinding]:
    """Those of one row, for a user of its own."""
    text = TEXTS[name].replace("the same", TEXTS["`run`"])
    operations: list[str] = []
    for granted, kind, resource in RIGHT.findall(text):
        operations = granted.split(" and ") if granted else operations
        for operation in operations if kind else ():
            yield AclBinding(
                KINDS[kind],
                resource.removesuffix("*"),
                ResourcePatternType.PREFIXED if resource.endswith("*") else ResourcePatternType.LITERAL,
                f"User:{USERS[name]}",
                "*",
                OPERATIONS[operation],
                AclPermissionType.ALLOW,
            )


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedKafka]:
    certificate = Authority(tmp_path).certificate("broker")
    users = dict.fromkeys([*USERS.values(), NOBODY], PASSWORD)
    with EmbeddedKafka(overrides=GUARDED, security=Security(certificate, users)) as started:
        granted = [right for name in TEXTS for right in rights(name)]
        admin = AdminClient({"bootstrap.servers": started.bootstrap})
        for answer in admin.create_acls(granted).values():
            answer.result(10)
        yield started


@pytest.mark.timeout(180)
def test_the_rights_that_the_page_lists_suffice(broker: EmbeddedKafka, tmp_path: Path) -> None:
    def runs(name: str, *arguments: str) -> str:
        client = options(tmp_path, **{"sasl.username": USERS[name]})
        code, said = command(broker, client, *arguments)
        assert code == 0, f"{name}: {said}"
        return said

    def environment(user: str) -> dict[str, str]:
        client = options(tmp_path, **{"sasl.username": user})
        return {f"CLAIMSTREAM_KAFKA__CLIENT__{k.upper().replace('.', '_')}": v for k, v in client.items()}

    def scores(name: str, more: int, **settings: str) -> None:
        settings["CLAIMSTREAM_KAFKA__GROUP_ID"] = "claimstream"
        with stage(broker.secure_bootstrap, TOPICS, **environment(USERS[name]), **settings) as running:
            await_that(lambda: running.delivered() >= more)
            assert running.stop() == 0
            assert "cannot be read" not in running.said()

    def refused(*arguments: str) -> str:
        code, said = command(broker, options(tmp_path, **{"sasl.username": NOBODY}), *arguments)
        assert code == 2, said
        return said

    assert len(TEXTS) == 8
    runs("`topics create`", "topics", "create", "--partitions", "2")
    assert "this user may not describe 'claims' at" in refused("publish", "--generate", "1")
    with stage(broker.secure_bootstrap, TOPICS, **environment(NOBODY)) as running:
        assert running.process.wait(60) == 2
        assert (
            "this user may not describe 'claims', 'claim-scores', 'claim-dead-letters' at" in running.said()
        )
    runs("`publish`", "publish", "--generate", "100")
    publish_damaged(broker)
    scores("`run`", 100)
    runs("`publish`", "publish", "--generate", "100", "--seed", "2")
    scores("`run`, `exactly_once`", 100, CLAIMSTREAM_KAFKA__DELIVERY="exactly_once")
    assert runs("`tail`", "tail", "--from-beginning", "--count", "200").count("null 1.0.0") == 200
    assert "1 of 1 dead letters" in runs("`dlq list`, `dlq show`", "dlq", "list")
    # Who may read the letters and not describe their input topic is told that, and not that it is gone.
    reader = options(tmp_path, **{"sasl.username": USERS["`dlq list`, `dlq show`"]})
    code, said = command(broker, reader, "dlq", "replay", "--all", "--dry-run")
    assert (code, "1 came from 'claims', to which this user has no right to write" in said) == (1, True), said
    assert "1 dead letters replayed" in runs("`dlq replay`", "dlq", "replay", "--all")
    said = runs("`audit`", "audit", *(TOPICS.claims, TOPICS.scores), "--group", "claimstream")
    assert "everything adds up" in said


def publish_damaged(broker: EmbeddedKafka) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    producer.produce(TOPICS.claims, b"no claim", key=b"k")
    assert producer.flush(10) == 0


@pytest.fixture
def open_broker() -> Iterator[EmbeddedKafka]:
    """Whatever no rule is about is allowed to everybody."""
    rules = {"authorizer.class.name": GUARDED["authorizer.class.name"]}
    with EmbeddedKafka(overrides={**rules, "allow.everyone.if.no.acl.found": "true"}) as started:
        yield started


def only_to_look_at(bootstrap: str, topic: str) -> None:
    """Everybody may read and describe the topic, and nobody write to it."""
    rules = [
        AclBinding(
            ResourceType.TOPIC,
            topic,
            ResourcePatternType.LITERAL,
            "User:ANONYMOUS",
            "*",
            operation,
            AclPermissionType.ALLOW,
        )
        for operation in (AclOperation.READ, AclOperation.DESCRIBE)
    ]
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for answer in admin.create_acls(rules).values():
        answer.result(10)


@pytest.mark.timeout(120)
def test_letters_of_a_topic_that_may_not_be_written_to_hold_no_other_back(open_broker: EmbeddedKafka) -> None:
    client = {"bootstrap.servers": open_broker.bootstrap}
    ensure_topics(client, [TopicSpec(name, 1) for name in ("letters", "open", "locked")])
    producer = Producer(client)
    for number in range(1_200):
        name = "locked" if number % 3 == 1 else "open"
        producer.produce("letters", b"claim", headers=Reason("ScoringError", "", name, 0, number).headers())
    assert producer.flush(10) == 0
    only_to_look_at(open_broker.bootstrap, "locked")

    def replay(code: int, *arguments: str) -> str:
        out = io.StringIO()
        place = ("--bootstrap", open_broker.bootstrap, "--topic", "letters")
        with redirect_stdout(out), redirect_stderr(out):
            assert run(["dlq", "replay", "--all", *place, *arguments]) == code, out.getvalue()
        return out.getvalue()

    document = json.loads(replay(1, "--json"))
    assert (document["replayed"], document["refused"], document["forbidden"]) == (800, 0, 400)
    assert document["forbidden_topics"] == ["locked"]
    assert (len(list(messages(client, "open"))), list(messages(client, "locked"))) == (800, [])
    assert "400 came from 'locked', to which this user has no right to write" in replay(1)
    only_to_look_at(open_broker.bootstrap, "letters")
    told = replay(1)
    assert "no right to write to 'letters', where replays are noted" in told
    assert "call it again" not in told
