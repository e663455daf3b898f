"""Settings of the cluster, its topics and clients."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from config.section import Options, Section, refusal, with_secrets_as_text

# Delivery guarantees and memory bounds rest on these; the last three are other names of options above them.
OWN_OPTIONS = (
    "bootstrap.servers",
    "group.id",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.gapless.guarantee",
    "acks",
    "queue.buffering.max.messages",
    "queue.buffering.max.kbytes",
    "group.instance.id",
    "transactional.id",
    "transaction.timeout.ms",
    "message.timeout.ms",
    "delivery.report.only.error",
    "delivery.timeout.ms",
    "metadata.broker.list",
    "request.required.acks",
)

# What the client refuses with `group.protocol: consumer` (KIP-848), and what decides it there.
DECIDED_ELSEWHERE = {
    "session.timeout.ms": "the broker's group.consumer.session.timeout.ms",
    "heartbeat.interval.ms": "the broker's group.consumer.heartbeat.interval.ms",
    "partition.assignment.strategy": "the broker's group.consumer.assignors, and group.remote.assignor here,",
}


class Topics(Section):
    """Names of the topics."""

    input: str = Field(default="claims", min_length=1, description="Topic that claims are read from.")
    output: str = Field(default="claim-scores", min_length=1, description="Topic that results go to.")
    dead_letters: str = Field(
        default="claim-dead-letters", min_length=1, description="Topic of records that cannot be scored."
    )

    @model_validator(mode="after")
    def _distinct(self) -> Topics:
        """A stage that reads what it wrote answers its own answers for ever."""
        if self.output == self.input:
            raise refusal("output", f"{self.output!r} is the input topic; results need one of their own")
        if self.dead_letters in (self.input, self.output):
            raise refusal(
                "dead_letters", f"{self.dead_letters!r} is also input or output; give it one of its own"
            )
        return self


class Kafka(Section):
    """The cluster, the topics and the clients."""

    bootstrap_servers: str = Field(
        default="127.0.0.1:9092", min_length=1, description="Addresses of brokers, separated by commas."
    )
    group_id: str = Field(
        default="claimstream",
        min_length=1,
        description="Consumer group that all instances of one stage share.",
    )
    topics: Topics = Topics()
    delivery: Literal["at_least_once", "exactly_once"] = Field(
        default="at_least_once",
        description="Offsets committed after the results that they cover, so that a crash may repeat some; or in one "
        "transaction with them, so that readers of committed records see each claim once.",
    )
    instance: str | None = Field(
        default=None,
        min_length=1,
        description="Name of this instance, the same after a restart and unlike that of any other in the group; the "
        "host's name when it is not set.",
    )
    static_membership: bool = Field(
        default=False,
        description="Keep partitions over a restart that is shorter than the session: workers join by the instance's "
        "name and their number.",
    )
    client: Options = Field(
        default={},
        description="librdkafka options of both clients, such as security.protocol or sasl.password.",
    )
    consumer: Options = Field(default={}, description="librdkafka options of the consumer alone.")
    producer: Options = Field(default={}, description="librdkafka options of the producer alone.")

    @field_validator("client", "consumer", "producer")
    @classmethod
    def _leave_own_options_alone(cls, options: Options) -> Options:
        for option in options:
            if option in OWN_OPTIONS:
                raise PydanticCustomError("own_option", "set by claimstream itself", {"key": option})
        return with_secrets_as_text(options)

    @model_validator(mode="after")
    def _stable_offsets(self) -> Kafka:
        """A new owner has to wait for offsets of a transaction that is being decided."""
        # As the consumer gets it: its own options win, and librdkafka reads values in any case.
        level = {**self.client, **self.consumer}.get("isolation.level", "read_committed")
        if self.delivery == "exactly_once" and str(level).lower() != "read_committed":
            detail = (
                f"exactly_once needs isolation.level read_committed in kafka.client and consumer, not {level}"
            )
            raise refusal("delivery", detail)
        return self

    @model_validator(mode="after")
    def _of_one_group_protocol(self) -> Kafka:
        """A value that is in force nowhere must not look as if it were."""
        # librdkafka reads values in any case.
        if str({**self.client, **self.consumer}.get("group.protocol")).lower() == "consumer":
            for section, options in (("client", self.client), ("consumer", self.consumer)):
                for option in options.keys() & DECIDED_ELSEWHERE.keys():
                    detail = f"with group.protocol consumer {DECIDED_ELSEWHERE[option]} decides; leave it out"
                    raise refusal(f"{section}.{option}", detail)
        return self
