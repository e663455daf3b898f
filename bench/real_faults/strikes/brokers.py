"""Brokers that end, pause, move what they lead, refuse, or whose answers are lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from confluent_kafka import OFFSET_END, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from bench.real_faults import ailments
from bench.real_faults.levers import Lever
from bench.real_faults.modes import EXACTLY_ONCE
from bench.real_faults.proxy import Api, KafkaProxy
from bench.real_faults.questions import patiently
from bench.real_faults.scene import PARTITIONS, Scene
from bench.real_faults.stage import await_that

_ANSWER, _GRACE, _AT_HAND = 10.0, 1.0, 1_500


def hard_bounce(scene: Scene) -> None:
    """kill -9 of the broker, and its return."""
    scene.cluster.kafka.kill()
    time.sleep(scene.random.uniform(0.0, 1.5))
    scene.cluster.kafka.restart()


def clean_bounce(scene: Scene) -> None:
    """The broker is shut down in order, and comes back."""
    scene.cluster.kafka.shut_down()
    scene.cluster.kafka.restart()


def flapping(scene: Scene) -> None:
    """The broker answers, and does not, every half second: reading pauses and goes on."""
    for _ in range(6):
        scene.cluster.kafka.pause()
        time.sleep(scene.random.uniform(0.4, 1.0))
        scene.cluster.kafka.resume()
        time.sleep(scene.random.uniform(0.2, 0.6))


def stalled(scene: Scene) -> None:
    """The broker stands still in the middle of a burst, with claims at hand that it takes no results of."""
    scene.levers.ail(ailments.SLOW)
    scene.flow.burst(_AT_HAND)
    time.sleep(scene.random.uniform(0.0, 1.0))
    scene.cluster.kafka.pause()
    try:
        scene.levers.cure(ailments.SLOW)
        time.sleep(scene.random.uniform(1.0, 8.0))
    finally:
        scene.cluster.kafka.resume()


def answer_lost(*apis: Api) -> Callable[[Scene], None]:
    """The broker did what was asked, and its answer does not arrive."""

    def strike(scene: Scene) -> None:
        proxy = scene.cluster.proxy
        if proxy is None:
            raise ValueError("the cluster has no proxy")
        lost = proxy.lost
        try:
            for number, api in enumerate(apis, 1):
                proxy.lose_answer(api)
                await_that(partial(_has_lost, proxy, lost + number), f"an answer to {api.name} is lost", 15.0)
                time.sleep(scene.random.uniform(0.1, 0.6))
        finally:
            proxy.forgive()

    return strike


def _has_lost(proxy: KafkaProxy, answers: int) -> bool:
    return proxy.lost >= answers


def coordinator_dies(scene: Scene) -> None:
    """The broker that coordinates the group is killed, and comes back later."""
    group = scene.group

    def ask(seconds: float) -> int:
        # A client goes on asking the broker that it found first, however often that one says that it is not the one.
        # It has to live until it has answered.
        admin = scene.new_admin()
        answer = admin.describe_consumer_groups([group], request_timeout=seconds)[group]
        return int(answer.result(seconds + _GRACE).coordinator.id)

    _bounced(scene, patiently(ask, "who coordinates the group"))


def transaction_coordinator_dies(scene: Scene) -> None:
    """The same of the coordinator of the worker's transactions."""
    name = f"{scene.group}-here-0"
    _bounced(scene, _leader(scene, "__transaction_state", lambda count: _java_hash(name) % count))


def leader_dies(scene: Scene) -> None:
    """The leader of a partition of results is killed while a transaction writes to it, and comes back later."""
    chosen = scene.random.randrange(PARTITIONS)
    _bounced(scene, _leader(scene, scene.topics.scores, lambda _: chosen))


def _leader(scene: Scene, topic: str, choose: Callable[[int], int]) -> int:
    """The broker that leads one of a topic's partitions, chosen by how many there are."""

    def ask(seconds: float) -> int | None:
        partitions = scene.admin.list_topics(topic, timeout=seconds).topics[topic].partitions
        leader = partitions[choose(len(partitions))].leader if partitions else -1
        return leader if leader > 0 else None

    return patiently(ask, f"who leads a partition of {topic}")


def _bounced(scene: Scene, number: int) -> None:
    scene.cluster.kafka.kill(number - 1)
    time.sleep(scene.random.uniform(2.0, 4.0))
    scene.cluster.kafka.restart(number - 1)


def _java_hash(text: str) -> int:
    """`Utils.abs(text.hashCode())`."""
    value = 0
    for character in text:
        value = (31 * value + ord(character)) & 0xFFFFFFFF
    return value & 0x7FFFFFFF if value != 0x80000000 else 0


def transaction_times_out(scene: Scene) -> None:
    """The broker ends a transaction that lasts too long, and with it its producer's right."""
    workers = scene.stage.workers()
    scene.pull(Lever("commit_transaction", "before", "sleep", 7.0))
    await_that(lambda: scene.stage.workers() != workers, "the fenced worker ends", 30.0)


def queue_full(scene: Scene) -> None:
    """The client takes a message no more, because its queue is full."""
    scene.pull(Lever("hand over", "before", "queue full"))


def delivery_fails(scene: Scene) -> None:
    """The broker refuses what it took a moment ago: its limit is lowered, and raised again."""
    _limit(scene, "100")
    try:
        refused = "delivery" if scene.mode == EXACTLY_ONCE else "was not delivered"
        await_that(
            lambda: "too large" in scene.stage.said() or refused in scene.stage.said(),
            "the broker refuses results",
            15.0,
        )
    finally:
        _limit(scene, "1048588")


def _limit(scene: Scene, size: str) -> None:
    entry = ConfigEntry("max.message.bytes", size, incremental_operation=AlterConfigOpType.SET)
    place = ConfigResource(ConfigResource.Type.TOPIC, scene.topics.scores, incremental_configs=[entry])
    scene.admin.incremental_alter_configs([place])[place].result(_ANSWER)


def denied(topic: str, operation: AclOperation, says: str) -> Callable[[Scene], None]:
    """A permission is taken away, and given back; `topic` is `claims` or `scores`."""

    def strike(scene: Scene) -> None:
        name, admin = getattr(scene.topics, topic), scene.admin
        allow = _acl(name, AclOperation.ALL, AclPermissionType.ALLOW)
        deny = _acl(name, operation, AclPermissionType.DENY)
        for answer in admin.create_acls([allow, deny]).values():
            answer.result(_ANSWER)
        try:
            await_that(lambda: says in scene.stage.said(), f"somebody says {says!r}", 20.0)
        finally:
            of_deny = AclBindingFilter(
                ResourceType.TOPIC,
                name,
                ResourcePatternType.LITERAL,
                "User:ANONYMOUS",
                "*",
                operation,
                AclPermissionType.DENY,
            )
            for answer in admin.delete_acls([of_deny]).values():
                answer.result(_ANSWER)

    return strike


def _acl(topic: str, operation: AclOperation, permission: AclPermissionType) -> AclBinding:
    return AclBinding(
        ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, "User:ANONYMOUS", "*", operation, permission
    )


def partitions_added(*topics: str) -> Callable[[Scene], None]:
    """More partitions while claims come; the claims of the new ones are answered as well."""

    def strike(scene: Scene) -> None:
        more = scene.admin.list_topics(scene.topics.claims, timeout=_ANSWER).topics[scene.topics.claims]
        count = len(more.partitions) + 1
        wanted = [NewPartitions(getattr(scene.topics, topic), count) for topic in topics]
        for answer in scene.admin.create_partitions(wanted).values():
            answer.result(_ANSWER)
        (claim, *_) = scene.flow.samples(1)
        await_that(lambda: scene.flow.put_and_seen(claim, count - 1), "the new partition takes records", 20.0)

    return strike


def topic_deleted(scene: Scene) -> None:
    """The input topic goes while all is answered, and comes again under the same name.

    The answers to what is gone go, too, so that the audit finds those to what came after.
    """
    scene.flow.hold()
    scene.await_answers()
    ends = [TopicPartition(scene.topics.scores, number, OFFSET_END) for number in range(PARTITIONS)]
    for answer in scene.admin.delete_records(ends).values():
        answer.result(_ANSWER)
    scene.admin.delete_topics([scene.topics.claims])[scene.topics.claims].result(_ANSWER)
    time.sleep(scene.random.uniform(1.0, 3.0))
    created = NewTopic(scene.topics.claims, PARTITIONS, scene.cluster.brokers)

    def again() -> bool:
        answer = scene.admin.create_topics([created])[scene.topics.claims]
        return answer.exception(_ANSWER) is None

    await_that(again, "the topic is created again", 20.0)
    scene.flow.go_on()
