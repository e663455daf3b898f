"""A simulated Kafka at the seam of confluent_kafka's clients: deterministic, on a virtual clock, with faults."""

from stream.embedded.simulated.cluster import SimulatedKafka, SimulatedProcess
from stream.embedded.simulated.consumer import SimulatedConsumer
from stream.embedded.simulated.faults import Effect, Fault, Faults, PlannedFaults, ProcessDied, Step
from stream.embedded.simulated.led_groups import Rhythm
from stream.embedded.simulated.message import Message
from stream.embedded.simulated.producer import SimulatedProducer
from stream.embedded.simulated.readings import Reading

__all__ = [
    "Effect",
    "Fault",
    "Faults",
    "Message",
    "PlannedFaults",
    "ProcessDied",
    "Reading",
    "Rhythm",
    "SimulatedConsumer",
    "SimulatedKafka",
    "SimulatedProcess",
    "SimulatedProducer",
    "Step",
]
