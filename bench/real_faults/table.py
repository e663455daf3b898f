"""The faults on real brokers: one line each. Tests strike each once, `claimstream bench faults --real` many times."""

from __future__ import annotations

from confluent_kafka.admin import AclOperation

from bench.real_faults.clusters import Kind
from bench.real_faults.levers import COMMITS, STEPS
from bench.real_faults.modes import AT_LEAST_ONCE, BOTH, EXACTLY_ONCE
from bench.real_faults.proxy import Api
from bench.real_faults.strikes import brokers, group, records, surroundings, workers
from bench.real_faults.trial import Fault

KIP_848 = {"CLAIMSTREAM_KAFKA__CONSUMER__GROUP_PROTOCOL": "consumer"}
STATIC = {"CLAIMSTREAM_KAFKA__STATIC_MEMBERSHIP": "true"}
SHORT_POLLS = {
    "CLAIMSTREAM_KAFKA__CONSUMER__MAX_POLL_INTERVAL_MS": "4000",
    "CLAIMSTREAM_LATENCY__DRAIN_TIMEOUT_S": "3",
}
IMPATIENT = {"CLAIMSTREAM_LIMITS__STEP_TIMEOUT_S": "3", "CLAIMSTREAM_LATENCY__DRAIN_TIMEOUT_S": "1.5"}
# Longer than the broker stands still: the claims at hand stay with their member.
PATIENT = {"CLAIMSTREAM_KAFKA__CONSUMER__SESSION_TIMEOUT_MS": "20000"}
TIGHT = {"CLAIMSTREAM_LIMITS__CLAIMS_IN_FLIGHT": "200", "CLAIMSTREAM_LIMITS__POLL_MAX_CLAIMS": "100"}
CURIOUS = {
    f"CLAIMSTREAM_KAFKA__{client}__TOPIC_METADATA_REFRESH_INTERVAL_MS": "1000"
    for client in ("CONSUMER", "PRODUCER")
}
SMALL_RECORDS = {"max.message.bytes": "20000"}

_AT_STEPS = [
    Fault(f"kill_{moment}_{step}", workers.kill_at(step, moment), modes, workers=2, repeats=True)
    for step, modes in (
        *((step, BOTH) for step in STEPS),
        *((step, (mode,)) for mode, steps in COMMITS.items() for step in steps),
    )
    for moment in ("before", "after")
]
_ENDS_AT_STEPS = [
    Fault(f"sigterm_at_{step}", workers.terminate_at(step, "before"), modes, within=30.0)
    for step, modes in (
        *((step, BOTH) for step in STEPS),
        *((step, (mode,)) for mode, steps in COMMITS.items() for step in steps),
    )
]

FAULTS: tuple[Fault, ...] = (
    Fault("kill", workers.kill_worker, workers=2, repeats=True),
    Fault("kills_in_a_row", workers.kills_in_a_row, workers=2, repeats=True, within=40.0),
    Fault("kill_stage", workers.kill_stage, workers=2, repeats=True),
    *_AT_STEPS,
    Fault("zombie", workers.zombie, workers=2, repeats=True, within=30.0),
    Fault("compute_beyond_max_poll_interval", workers.slow_forward, settings=SHORT_POLLS),
    Fault("rebalance_in_a_batch", group.rebalance_in_a_batch),
    Fault("rebalance_in_a_batch_kip848", group.rebalance_in_a_batch, settings=KIP_848),
    Fault("join_and_leave", group.join_and_leave),
    Fault("join_and_leave_kip848", group.join_and_leave, settings=KIP_848),
    Fault("commit_races_rebalance", group.commit_races_rebalance),
    Fault("twin_transactional_id", group.twin, (EXACTLY_ONCE,)),
    Fault("twin_group_instance_id", group.static_twin, settings=STATIC, repeats=True),
    Fault("hang", workers.hang, settings=IMPATIENT, repeats=True),
    Fault("device_fails", workers.device_fails, repeats=True),
    *_ENDS_AT_STEPS,
    Fault("broker_hard_bounce", brokers.hard_bounce, repeats=True, within=40.0),
    Fault("broker_clean_bounce", brokers.clean_bounce, repeats=True),
    Fault("broker_flaps", brokers.flapping, settings=TIGHT),
    Fault("broker_stands_still", brokers.stalled, settings=TIGHT | PATIENT, repeats=True),
    Fault("client_queue_full", brokers.queue_full, repeats=True),
    Fault("delivery_fails", brokers.delivery_fails, repeats=True),
    Fault("transaction_times_out", brokers.transaction_times_out, (EXACTLY_ONCE,)),
    Fault("damaged_records", records.damaged, letters=records.is_damaged),
    Fault("not_finite", records.not_finite, letters=records.is_poisoned),
    Fault("forward_raises", records.raises, letters=records.is_poisoned),
    Fault("out_of_memory", records.out_of_memory),
    Fault(
        "result_too_large",
        records.oversized,
        topic_config=SMALL_RECORDS,
        letters=records.is_oversized,
    ),
    Fault("burst_then_silence", records.burst_then_silence),
    Fault("clock_jumps", records.clock_jumps),
    Fault("registry_down", surroundings.registry_down, prepare=surroundings.with_registry),
    Fault(
        "slow_model_load",
        surroundings.slow_load,
        model=None,
        prepare=surroundings.with_two_models,
        within=30.0,
    ),
    Fault(
        "log_disk_full",
        surroundings.log_disk_full,
        full_disk=True,
        repeats=True,
        letters=records.is_damaged,
    ),
    Fault(
        "cache_disk_full",
        surroundings.cache_disk_full,
        model=None,
        prepare=surroundings.with_small_disk,
        repeats=True,
    ),
    Fault("input_partitions_added", brokers.partitions_added("claims"), settings=CURIOUS),
    Fault("all_partitions_added", brokers.partitions_added("claims", "scores"), settings=CURIOUS),
    Fault("topics_deleted", brokers.topic_deleted, repeats=True),
    Fault("commit_answer_lost", brokers.answer_lost(Api.OFFSET_COMMIT), (AT_LEAST_ONCE,), Kind.PROXIED),
    Fault("end_of_transaction_answer_lost", brokers.answer_lost(Api.END_TXN), (EXACTLY_ONCE,), Kind.PROXIED),
    Fault(
        "offsets_of_transaction_answer_lost",
        brokers.answer_lost(Api.TXN_OFFSET_COMMIT),
        (EXACTLY_ONCE,),
        Kind.PROXIED,
    ),
    Fault("produce_answer_lost", brokers.answer_lost(Api.PRODUCE), cluster=Kind.PROXIED),
    Fault(
        "results_denied",
        brokers.denied("scores", AclOperation.WRITE, "uthorization"),
        cluster=Kind.GUARDED,
        repeats=True,
    ),
    Fault(
        "claims_denied",
        brokers.denied("claims", AclOperation.READ, "uthorization"),
        cluster=Kind.GUARDED,
        repeats=True,
    ),
    Fault("group_coordinator_dies", brokers.coordinator_dies, cluster=Kind.THREE, repeats=True),
    Fault("transaction_coordinator_dies", brokers.transaction_coordinator_dies, (EXACTLY_ONCE,), Kind.THREE),
    Fault("leader_dies", brokers.leader_dies, cluster=Kind.THREE, repeats=True),
)
