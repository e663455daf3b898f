"""Settings from defaults, file, environment and command line, with their origins."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from config import ConfigurationError, Settings, load_settings, reference, values
from config.environment import NAMED, annotation_of, variable_of
from config.kafka_settings import DECIDED_ELSEWHERE, OWN_OPTIONS
from config.model_catalog import load_catalog
from config.secrets import MASK, masked
from stream.clients import consumer_options, producer_options

DESIGNED = {
    "ML_CACHE_L1_MEMORY_GB": 2.0,
    "ML_CACHE_L2_REDIS_GB": 8.0,
    "ML_CACHE_GPU_MEMORY_GB": 4.0,
    "ML_CACHE_TTL_MINUTES": 30,
    "ML_BATCH_SIZE_AUTO": True,
    "ML_BATCH_SIZE_MIN": 32,
    "ML_BATCH_SIZE_MAX": 512,
    "ML_ENABLE_QUANTIZATION": True,
    "ML_USE_MIXED_PRECISION": True,
    "ML_WORKER_PROCESSES": 4,
    "ML_GPU_DEVICE_IDS": [0, 1],
    "ML_ASYNC_INFERENCE": True,
    "ML_PRELOAD_MODELS": ["claims_filter_v2.1", "fraud_detector_v1.0"],
}
NEAREST = "; the nearest is "
NO_SETTING = "no setting of claimstream" + NEAREST + "{}. Rename it or unset it"
MODEL = "type: ensemble, framework: onnx, input_size: [1, 2], memory_mb: 3"


def loaded(
    tmp_path: Path,
    text: str = "",
    environ: dict[str, str] | None = None,
    overrides: dict[str, Any] | None = None,
) -> Settings:
    file = tmp_path / "stream.yaml"
    file.write_text(text, encoding="utf-8")
    return load_settings(file, environ or {}, overrides or {})


def refused(tmp_path: Path, text: str = "", environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        loaded(tmp_path, text, environ)
    return str(caught.value).removeprefix(f"{tmp_path}/")


def test_designed_variables_keep_their_names_and_defaults() -> None:
    defaults = dict(values(Settings()))
    assert {variable: defaults[name] for variable, name in NAMED.items()} == DESIGNED


def test_later_sources_win_and_origins_name_them(tmp_path: Path) -> None:
    text = "latency:\n  budget_ms: 50\n  drain_timeout_s: 3\nhttp:\n  port: 1\n"
    environ = {"CLAIMSTREAM_HTTP__PORT": "2", "CLAIMSTREAM_LATENCY__DRAIN_TIMEOUT_S": "4"}
    settings = loaded(tmp_path, text, environ, {"http.port": 3})
    assert (settings.latency.budget_ms, settings.latency.drain_timeout_s, settings.http.port) == (50, 4, 3)
    origins = {name: origin.text for name, origin in settings.origins.items() if origin.explicit}
    assert origins == {
        "latency.budget_ms": f"{tmp_path / 'stream.yaml'}:2",
        "latency.drain_timeout_s": "environment CLAIMSTREAM_LATENCY__DRAIN_TIMEOUT_S",
        "http.port": "command line",
    }
    assert settings.origins["http.host"].text == "default"


def test_settings_travel_to_a_worker_with_their_origins(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "workers: {processes: 2}")
    copy = pickle.loads(pickle.dumps(settings))
    assert copy == settings
    assert copy.origins == settings.origins
    assert copy.origin("workers.processes").explicit


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "kafka:\n  bootstrap_server: a\n",
            ("stream.yaml:2: unknown key kafka.bootstrap_server" + NEAREST + "kafka.bootstrap_servers"),
        ),
        ("budget_ms: 5\n", ("stream.yaml:1: unknown key budget_ms" + NEAREST + "latency.budget_ms")),
        (
            "kafka:\n  topics: {inputs: a}\n",
            ("stream.yaml:2: unknown key kafka.topics.inputs" + NEAREST + "kafka.topics.input"),
        ),
        ("\nhttp:\n  port: eighty\n", "stream.yaml:3: http.port is 'eighty'; expected a whole number"),
        ("http: {port: 99999}", "stream.yaml:1: http.port is 99999; expected a number at most 65535"),
        ("workers: {processes: true}", "stream.yaml:1: workers.processes is True; expected a whole number"),
        ("latency: {budget_ms: .inf}", "stream.yaml:1: latency.budget_ms is inf; expected a finite number"),
        (
            "http: {token: abc}",
            "stream.yaml:1: http.token is '********'; expected text of at least 8 characters",
        ),
        ("http: {host: ''}", "stream.yaml:1: http.host is ''; expected text that is not empty"),
        ("kafka: 3", "stream.yaml:1: kafka is 3; expected keys with values"),
        (
            "batching:\n  size_min: 600\n",
            "stream.yaml:2: batching.size_min: size_min (600) is above size_max (512)",
        ),
        (
            "kafka:\n  topics:\n    output: claims\n",
            "stream.yaml:3: kafka.topics.output: 'claims' is the input topic; results need one of their own",
        ),
        (
            "kafka:\n  topics: {dead_letters: claim-scores}\n",
            "stream.yaml:2: kafka.topics.dead_letters: 'claim-scores' is also input or output; give it one of its own",
        ),
        (
            "\nroutes: {}\n",
            "stream.yaml:2: routes: no route at all; give one, such as {'*': [claims_filter_v2.1]}",
        ),
        ("routes:\n  a: []\n", "stream.yaml:2: routes.a: names no model; give it one or leave it out"),
        (
            "routes:\n  a: [null]\n",
            'stream.yaml:2: routes.a.0 is null (write "null" for the text); expected text',
        ),
        (
            "kafka:\n  client:\n    a.b: [1]\n",
            "stream.yaml:3: kafka.client.a.b is a list of 1; expected text, a number, true or false",
        ),
        (
            "logging: {level: loud}",
            "stream.yaml:1: logging.level is 'loud'; expected 'debug', 'info', 'warning' or 'error'",
        ),
        ("http: {port: 1}\nhttp: {port: 2}\n", "stream.yaml:2: http is set in line 1 already"),
        ("- 1\n", "stream.yaml:1: expected keys such as `kafka:`, found a list"),
        ("a: [\n", "stream.yaml:2: not YAML: expected the node content, but found '<stream end>'"),
        ("a: &x\n  b: *x\n", "stream.yaml: nested too deep, or an anchor that contains itself"),
        ("? [a]\n: 1\n", "stream.yaml:1: not YAML: found unhashable key"),
        (
            "\na: 2026-99-99\n",
            "stream.yaml:2: not YAML: neither a date nor a number, though it looks like one; write it in quotes",
        ),
    ],
)
def test_wrong_file_is_named_with_line_value_and_cure(tmp_path: Path, text: str, message: str) -> None:
    assert refused(tmp_path, text) == message


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.yaml: cannot be read: No such file"):
        load_settings(tmp_path / "absent.yaml", {}, {})
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        load_settings(tmp_path, {}, {})
    (tmp_path / "latin.yaml").write_bytes(b"http: {host: \xe9}")
    with pytest.raises(ConfigurationError, match=r"not UTF-8 text \(byte 13\)"):
        load_settings(tmp_path / "latin.yaml", {}, {})


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("ML_BATCHSIZE_MAX", NO_SETTING.format("ML_BATCH_SIZE_MAX")),
        ("CLAIMSTREAM_WORKERS__PROCESSES", NO_SETTING.format("ML_WORKER_PROCESSES")),
        ("CLAIMSTREAM_CACHE__TTL_MINUTE", NO_SETTING.format("ML_CACHE_TTL_MINUTES")),
        ("CLAIMSTREAM_KAFKA__GROUP", NO_SETTING.format("CLAIMSTREAM_KAFKA__GROUP_ID")),
        ("CLAIMSTREAM_HTTP_PORT", NO_SETTING.format("CLAIMSTREAM_HTTP__PORT")),
        ("CLAIMSTREAM_KAFKA__SERVICE_PORT", NO_SETTING.format("CLAIMSTREAM_KAFKA__PRODUCER")),
        ("CLAIMSTREAM_KAFKA__CLIENT__", NO_SETTING.format("CLAIMSTREAM_KAFKA__CLIENT")),
        ("ML_BATCH_SIZE_MAX", "batching.size_max is 'x'; expected a whole number"),
        ("ML_GPU_DEVICE_IDS", "workers.gpu_device_ids.0 is 'x'; expected a whole number"),
        ("CLAIMSTREAM_ROUTES", "routes is 'x'; expected keys with values"),
    ],
)
def test_wrong_variable_is_named(tmp_path: Path, variable: str, message: str) -> None:
    assert refused(tmp_path, environ={variable: "x"}) == f"environment {variable}: {message}"


def test_what_kubernetes_says_of_a_service_is_no_setting(tmp_path: Path) -> None:
    environ = {}
    for service in ("CLAIMSTREAM", "CLAIMSTREAM_HTTP", "ML", "ML_BATCH_2"):
        environ |= {
            f"{service}_SERVICE_HOST": "10.0.0.11",
            f"{service}_SERVICE_PORT": "8000",
            f"{service}_SERVICE_PORT_METRICS_2": "8000",
            f"{service}_PORT": "tcp://10.0.0.11:8000",
            f"{service}_PORT_8000_TCP": "tcp://10.0.0.11:8000",
            f"{service}_PORT_8000_TCP_PROTO": "tcp",
            f"{service}_PORT_8000_TCP_PORT": "8000",
            f"{service}_PORT_8000_TCP_ADDR": "10.0.0.11",
        }
    assert loaded(tmp_path, environ=environ) == loaded(tmp_path)


def test_values_of_variables(tmp_path: Path) -> None:
    environ = {
        "ML_BATCH_SIZE_AUTO": "false",
        "ML_GPU_DEVICE_IDS": "2, 3",
        "ML_PRELOAD_MODELS": "",
        "CLAIMSTREAM_KAFKA__GROUP_ID": "007",
        "CLAIMSTREAM_SCHEMAS__REGISTRY_URL": "",
        "CLAIMSTREAM_ROUTES": '{"*": ["null"]}',
        "CLAIMSTREAM_BOOTSTRAP": "elsewhere:1",
        "CLAIMSTREAM_DATA": "/data",
        "CLAIMSTREAM_CONFIG": "x.yaml",
        "PATH": "/bin",
    }
    settings = loaded(tmp_path, environ=environ)
    assert not settings.batching.size_auto
    assert settings.workers.gpu_device_ids == [2, 3]
    assert settings.workers.preload_models == []
    assert settings.kafka.group_id == "007"
    assert settings.schemas.registry_url is None
    assert settings.routes == {"*": ["null"]}
    assert settings.kafka.bootstrap_servers == "127.0.0.1:9092"


def test_an_option_of_a_client_has_its_own_variable(tmp_path: Path) -> None:
    environ = {
        "CLAIMSTREAM_KAFKA__CLIENT__SASL_PASSWORD": "s",
        "CLAIMSTREAM_SCHEMAS__REGISTRY__BASIC_AUTH_USER_INFO": "u:p",
    }
    settings = loaded(tmp_path, "kafka:\n  client: {a.b: 1}\n", environ)
    assert settings.kafka.client == {"a.b": 1, "sasl.password": "s"}
    assert settings.schemas.registry == {"basic.auth.user.info": "u:p"}
    assert settings.origin("kafka.client.a.b").text.endswith("stream.yaml:2")
    assert settings.origin("kafka.client.sasl.password").text.startswith("environment ")


def test_a_map_replaced_as_a_whole_leaves_nothing_behind(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "routes: {a: [x], b: [y]}", {"CLAIMSTREAM_ROUTES": "{c: [z]}"})
    assert settings.routes == {"c": ["z"]}
    assert [name for name in settings.origins if name.startswith("routes")] == ["routes"]


def test_options_replaced_as_a_whole_have_the_origin_of_what_replaced_them(tmp_path: Path) -> None:
    environ = {"CLAIMSTREAM_KAFKA__CLIENT__B": "2", "CLAIMSTREAM_KAFKA__CLIENT": "{a: 3, b: 4}"}
    settings = loaded(tmp_path, "kafka: {client: {a: 1}}", environ)
    assert settings.kafka.client == {"a": 3, "b": "2"}
    origins = [settings.origin(f"kafka.client.{option}").text for option in "ab"]
    assert origins == ["environment CLAIMSTREAM_KAFKA__CLIENT", "environment CLAIMSTREAM_KAFKA__CLIENT__B"]


@pytest.mark.parametrize("option", OWN_OPTIONS)
@pytest.mark.parametrize("section", ["client", "consumer", "producer"])
def test_own_options_cannot_be_set(tmp_path: Path, section: str, option: str) -> None:
    message = refused(tmp_path, f"kafka:\n  {section}:\n    {option}: 1\n")
    assert message.startswith(f"stream.yaml:3: kafka.{section}.{option} is set by claimstream itself; ")


@pytest.mark.parametrize("section", ["client", "consumer"])
@pytest.mark.parametrize("level", ["read_uncommitted", "READ_UNCOMMITTED"])
def test_exactly_once_needs_stable_offsets(tmp_path: Path, section: str, level: str) -> None:
    text = f"kafka: {{delivery: exactly_once, {section}: {{isolation.level: {level}}}}}"
    assert "exactly_once needs isolation.level read_committed" in refused(tmp_path, text)


def test_the_consumers_own_isolation_wins(tmp_path: Path) -> None:
    text = "{client: {isolation.level: read_uncommitted}, consumer: {isolation.level: Read_Committed}}"
    settings = loaded(tmp_path, f"kafka: {text[:-1]}, delivery: exactly_once}}")
    assert settings.kafka.delivery == "exactly_once"


@pytest.mark.parametrize("section", ["client", "consumer"])
@pytest.mark.parametrize("option", DECIDED_ELSEWHERE)
def test_what_the_broker_decides_by_the_new_group_protocol_is_refused(
    tmp_path: Path, section: str, option: str
) -> None:
    text = f"kafka:\n  {section}:\n    {option}: 5000\n  consumer: {{group.protocol: Consumer}}\n"
    if section == "consumer":
        text = f"kafka:\n  consumer:\n    {option}: 5000\n    group.protocol: consumer\n"
    message = refused(tmp_path, text)
    assert message.startswith(
        f"stream.yaml:3: kafka.{section}.{option}: with group.protocol consumer the broker's"
    )
    assert loaded(tmp_path, text.lower().replace("group.protocol: consumer", "group.protocol: classic"))


@pytest.mark.parametrize("section", ["client", "consumer"])
def test_a_drain_is_over_before_its_group_gives_up(tmp_path: Path, section: str) -> None:
    kafka = f"kafka: {{{section}: {{max.poll.interval.ms: 10000}}}}"
    text = f"latency:\n  drain_timeout_s: 10\n{kafka}\n"
    assert refused(tmp_path, text).startswith("stream.yaml:2: latency.drain_timeout_s: 10 s, but a member")
    assert loaded(tmp_path, text.replace("drain_timeout_s: 10", "drain_timeout_s: 9.9"))
    assert "lower this" in refused(tmp_path, "latency: {drain_timeout_s: 300}")


def test_an_interval_that_is_no_number_is_left_to_the_client(tmp_path: Path) -> None:
    assert loaded(tmp_path, "kafka: {consumer: {max.poll.interval.ms: soon}}")


@pytest.mark.parametrize("section", ["client", "producer"])
@pytest.mark.parametrize("option", ["linger.ms", "queue.buffering.max.ms"])
def test_results_do_not_linger_beyond_the_budget(tmp_path: Path, section: str, option: str) -> None:
    text = f"latency: {{budget_ms: 50}}\nkafka:\n  {section}:\n    {option}: 50\n"
    message = refused(tmp_path, text)
    assert (
        message
        == f"stream.yaml:4: kafka.{section}.{option}: 50 ms, so every claim is late: latency.budget_ms is 50"
    )
    for harmless in ("49.9", "soon"):
        assert loaded(tmp_path, text.replace(": 50\n", f": {harmless}\n"))
    # A transaction's commit sends them at once.
    assert loaded(tmp_path, text + "  delivery: exactly_once\n")


def test_an_option_that_would_have_no_effect_is_refused() -> None:
    for options in (consumer_options("b", "g", {}, {}), producer_options("b", 9, {}, {})):
        theirs = dict.fromkeys(options, "theirs")
        merged = {**consumer_options("b", "g", theirs, {}), **producer_options("b", 9, theirs, {})}
        assert {name for name in options if merged[name] != "theirs"} <= set(OWN_OPTIONS)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("limits:\n  bytes_in_flight_mb: 0.0000001\n", "limits.bytes_in_flight_mb"),
        ("limits:\n  dead_letter_window: 1000000000\n", "limits.dead_letter_window"),
        ("workers:\n  gpu_device_ids: [-1]\n", "an empty list stands for the CPU"),
        ("http:\n  token: 'paßwort-für-alle'\n", "a header cannot carry it"),
        ("http:\n  token: ' a-long-token'\n", "a header cannot carry it"),
    ],
)
def test_values_that_would_only_fail_later_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    message = refused(tmp_path, text)
    assert reason in message
    assert "token'" not in message
    assert "alle" not in message


def test_sections_whose_lines_are_all_commented_out(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "kafka:\n  topics:\n  client:\nlatency:\n")
    assert settings.model_dump() == Settings().model_dump()
    assert not any(origin.explicit for origin in settings.origins.values())


def test_merged_keys_count_where_they_are_written(tmp_path: Path) -> None:
    text = "kafka:\n  client: &both\n    a: 1\n  consumer:\n    <<: *both\n    b: 2\n"
    settings = loaded(tmp_path, text)
    assert settings.kafka.consumer == {"a": 1, "b": 2}
    assert settings.origin("kafka.consumer.a").text.endswith(":3")


def test_secrets_do_not_print(tmp_path: Path) -> None:
    text = """
kafka:
  client: {sasl.password: hush1, sasl.jaas.config: hush2, ssl.key.pem: hush3, ssl.key.location: /shown.pem}
  consumer: {sasl.oauthbearer.client.secret: hush4, sasl.oauthbearer.config: hush5}
schemas:
  registry_url: https://user:hu@sh6@registry.example.org/x
  registry: {basic.auth.user.info: hush7, bearer.auth.token: hush8}
"""
    settings = loaded(tmp_path, text)
    for shown in (repr(settings), str(settings.kafka), repr(settings.schemas)):
        assert "hush" not in shown
        assert "sh6" not in shown
    assert "/shown.pem" in repr(settings)
    assert "@registry.example.org/x" in repr(settings)
    assert settings.kafka.client["sasl.password"] == "hush1"


@pytest.mark.parametrize("url", ["default:hush@redis:6379", "hush@redis://x", "//:hush@x", "redis:/:hush@x"])
@pytest.mark.parametrize(
    ("name", "schemes"),
    [
        ("cache.redis_url", "redis://, rediss:// or unix://"),
        ("schemas.registry_url", "http:// or https://"),
    ],
)
def test_a_url_without_a_scheme_is_refused_and_not_told(
    tmp_path: Path, name: str, schemes: str, url: str
) -> None:
    variable = f"CLAIMSTREAM_{name.upper().replace('.', '__')}"
    message = refused(tmp_path, environ={variable: url})
    assert f"{variable}: {name}: its scheme is missing; it has to begin with {schemes}" in message
    assert "hush" not in message


def test_urls_with_a_scheme_and_none_at_all_are_taken(tmp_path: Path) -> None:
    for url in ("redis://x", "REDISS://:hush@x:1/0?ssl_ca_certs=/ca.pem", "unix:///run/redis.sock"):
        assert loaded(tmp_path, environ={"CLAIMSTREAM_CACHE__REDIS_URL": url}).cache.redis_url == url
    assert not loaded(tmp_path, "cache: {redis_url: ''}").cache.redis_url
    assert not loaded(tmp_path, environ={"CLAIMSTREAM_CACHE__REDIS_URL": ""}).cache.redis_url


@pytest.mark.parametrize("key", ["api_key", "apikey", "api-key", "X-Api-Key", "access_key", "access.key"])
def test_a_key_in_the_query_of_a_url_is_masked(key: str) -> None:
    shown = masked("schemas.registry_url", f"https://registry/?v=1&{key}=hush&more=x")
    assert shown == f"https://registry/?v=1&{key}={MASK}"
    assert masked(f"schemas.registry.{key}", "hush") == MASK


@pytest.mark.parametrize(
    ("option", "secret"),
    [
        ("sasl.passwrod", True),
        ("sasl.pasword", True),
        ("my.screct", True),
        ("ssl.keystore.location", False),
        ("security.protocol", False),
        ("enable.sasl.oauthbearer.unsecure.jwt", False),
        ("statistics.interval.ms", False),
        ("ssl.certificate.location", False),
    ],
)
def test_a_misspelled_secret_is_masked_too(option: str, secret: bool) -> None:
    assert (masked(f"kafka.client.{option}", "hush") != "hush") is secret


def test_a_wrong_secret_is_not_told(tmp_path: Path) -> None:
    message = refused(tmp_path, "kafka: {client: {sasl.password: [hush]}}")
    assert "hush" not in message
    assert "hush" not in refused(tmp_path, environ={"CLAIMSTREAM_KAFKA__CLIENT": "{sasl.password: hush"})


UNQUOTED = "not YAML: {}; text that begins with & * or ! needs quotes"
NO_TEXT = 'is null (write "null" for the text); expected text, a number, true or false'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kafka: sasl.password:hush", "kafka is 'sasl.password:********'; expected keys with values"),
        ("kafka: {client: sasl.password:hush}", "kafka.client is ********; expected keys with values"),
        ("kafka: {client: hush}", "kafka.client is ********; expected keys with values"),
        ("kafka: {client: {sasl.password:hush}}", f"kafka.client.sasl.password:******** {NO_TEXT}"),
        ("kafka: {password=hush: 1}", f"unknown key kafka.password=********{NEAREST}kafka.producer"),
        ("{password=hush: 1, password=hush: 2}", "password=******** is set in line 1 already"),
        ("http: {port: https://me:hush@x}", "http.port is 'https://********@x'; expected a whole number"),
        ("kafka: {client: {sasl.password: *hush}}", UNQUOTED.format("found undefined alias ********")),
        (
            "kafka: {client: {sasl.password: !hush }}",
            UNQUOTED.format("could not determine a constructor for the tag ********"),
        ),
    ],
)
def test_a_secret_in_the_wrong_place_is_not_told(tmp_path: Path, text: str, message: str) -> None:
    assert refused(tmp_path, text) == f"stream.yaml:1: {message}"


@pytest.mark.parametrize("section", ["kafka: {client", "kafka: {producer", "schemas: {registry"])
def test_a_secret_that_yaml_would_change_has_to_be_quoted(tmp_path: Path, section: str) -> None:
    message = refused(tmp_path, f"{section}: {{my.token: 0123}}}}")
    assert message.endswith(".my.token is a number or truth value to YAML; write it in quotes")
    assert loaded(tmp_path, f'{section}: {{my.token: "0123", linger.ms: 5}}}}')


def test_shipped_file_changes_nothing_and_names_every_setting() -> None:
    shipped = load_settings(reference.FILES["yaml"], {}, {})
    assert shipped.model_dump() == Settings().model_dump()
    assert not any(origin.explicit for origin in shipped.origins.values())


def test_uncommented_shipped_file_sets_every_default(tmp_path: Path) -> None:
    lines = reference.FILES["yaml"].read_text(encoding="utf-8").splitlines()
    names = tuple(f"{name.rpartition('.')[2]}: " for name, _ in values(Settings()))
    live = [
        line.replace("# ", "", 1) if line.strip().removeprefix("# ").startswith(names) else line
        for line in lines
    ]
    settings = loaded(tmp_path, "\n".join(live))
    assert settings.model_dump() == Settings().model_dump()
    assert all(origin.explicit for origin in settings.origins.values())


@pytest.mark.parametrize(
    ("kind", "written"), [("yaml", reference.stream_yaml), ("markdown", reference.markdown)]
)
def test_generated_files_are_up_to_date(kind: str, written: Any) -> None:
    assert reference.FILES[kind].read_text(encoding="utf-8") == written(), "run: python -m config.reference"


def test_every_setting_has_a_type_a_variable_and_a_description() -> None:
    names = [name for name, _ in values(Settings())]
    assert all(annotation_of(name) for name in names)
    assert len({variable_of(name) for name in names}) == len(names)
    assert "| |" not in reference.markdown()
    assert "| `http.token` | `null` | text or null, at least 8 characters |" in reference.markdown()


def test_model_catalog_accepts_the_designed_form() -> None:
    models = load_catalog(reference.FILES["yaml"].with_name("ml_models.yaml")).models
    claims_filter, fraud_detector = models["claims_filter_v2.1"], models["fraud_detector_v1.0"]
    assert (claims_filter.framework, claims_filter.input_size, claims_filter.memory_mb) == (
        "pytorch",
        [512, 768],
        850,
    )
    assert (fraud_detector.cache_priority, fraud_detector.quantization) == ("medium", "int8")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"modles: {{a: {{{MODEL}}}}}", ("1: unknown key modles" + NEAREST + "models")),
        (
            f"models:\n  a.b:\n    {{{MODEL}, cache_prio: low}}",
            ("3: unknown key models.a.b.cache_prio" + NEAREST + "models.a.b.cache_priority"),
        ),
        (
            f"models:\n  a: {{{MODEL.replace('1, 2', '1')}}}",
            "2: models.a.input_size is a list of 1; expected a list of 2",
        ),
        ("models:\n  a: {type: x, framework: onnx, input_size: [1, 2]}", "2: models.a.memory_mb is missing"),
    ],
)
def test_wrong_model_catalog_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "ml_models.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        load_catalog(file)
    assert str(caught.value) == f"{file}:{message}"
