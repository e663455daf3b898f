"""Whatever a file or the environment holds, the outcome is settings or one clear refusal."""

from __future__ import annotations

import string
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from config import ConfigurationError, Settings, load_settings, values
from config.environment import NOT_SETTINGS, annotation_of, variable_of
from config.errors import printable
from config.secrets import masked
from stream.cli.output import table

NAMES = [name for name, _ in values(Settings())]
SECTIONS = sorted({name.split(".")[0] for name in NAMES} | {name.rpartition(".")[2] for name in NAMES})
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
TREES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(SECTIONS) | st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
KNOWN = {name.rsplit(".", depth)[0] for name in NAMES for depth in range(3)}
OPTION_MAPS = [["kafka", "client"], ["kafka", "consumer"], ["kafka", "producer"], ["schemas", "registry"]]
PARTS = st.text(string.ascii_lowercase, min_size=1, max_size=6)
SECRET_NAMES = st.builds(
    lambda before, word, after: f"{before}.{word}.{after}",
    PARTS,
    st.sampled_from(["password", "client.secret", "token", "Credentials", "jaas.config", "ssl.key"]),
    PARTS.filter(lambda part: part != "location"),
)
# Between characters that nothing else here has, so that finding it is no accident.
SECRETS = st.text("<>|$", min_size=6, max_size=12)
WORDS = st.text(string.ascii_letters + string.digits, min_size=1, max_size=12)


@pytest.fixture(scope="module")
def file() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory) / "stream.yaml"


def outcome(file: Path, environ: dict[str, str]) -> Settings | None:
    try:
        return load_settings(file, environ, {})
    except ConfigurationError:
        return None


def complaint(file: Path) -> str:
    try:
        load_settings(file, {}, {})
    except ConfigurationError as error:
        return str(error)
    return ""


@given(tree=TREES)
def test_any_tree_is_settings_or_refused_with_its_place(file: Path, tree: Any) -> None:
    file.write_text(yaml.safe_dump(tree), encoding="utf-8")
    assert all(line.startswith(f"{file}:") for line in complaint(file).splitlines())


def nested(keys: list[str], value: Any) -> Any:
    for key in reversed(keys):
        value = {key: value}
    return value


@given(
    above=st.sampled_from([[], ["kafka"], ["kafka", "topics"], ["batching"], ["http"]]), key=WORDS, tree=TREES
)
def test_any_unknown_key_is_named_with_file_line_and_the_nearest(
    file: Path, above: list[str], key: str, tree: Any
) -> None:
    name = ".".join([*above, key])
    assume(name not in KNOWN)
    file.write_text("# A line above.\n" + yaml.safe_dump(nested([*above, f"x{key}"], tree)), encoding="utf-8")
    line, _, nearest = complaint(file).partition("; the nearest is ")
    assert line == f"{file}:{len(above) + 2}: unknown key {'.'.join([*above, f'x{key}'])}"
    assert nearest in KNOWN


@given(prefix=st.sampled_from(["CLAIMSTREAM_", "ML_"]), name=WORDS.map(str.upper))
def test_any_unknown_variable_is_named_with_the_nearest(file: Path, prefix: str, name: str) -> None:
    variable = f"{prefix}{name}"
    assume(variable not in (*NOT_SETTINGS, *map(variable_of, NAMES)))
    with pytest.raises(ConfigurationError) as caught:
        load_settings(None, {variable: "1"}, {})
    start, _, rest = str(caught.value).partition("; the nearest is ")
    assert start == f"environment {variable}: no setting of claimstream"
    assert rest.removesuffix(". Rename it or unset it") in (*NOT_SETTINGS, *map(variable_of, NAMES))


@given(option_map=st.sampled_from(OPTION_MAPS), name=SECRET_NAMES, secret=SECRETS)
def test_a_secret_never_shows(file: Path, option_map: list[str], name: str, secret: str) -> None:
    file.write_text(yaml.safe_dump(nested([*option_map, name], secret)), encoding="utf-8")
    settings = load_settings(file, {}, {})
    shown = [masked(setting, value) for setting, value in values(settings)]
    assert secret not in f"{settings!r}{settings}{shown}"
    assert secret in dict(values(settings)).values()


@given(
    keys=st.sampled_from([*OPTION_MAPS, ["kafka"], ["http", "port"], ["nonsense"], []]),
    name=SECRET_NAMES,
    separator=st.sampled_from([":", "=", " ", ": ", " = "]),
    secret=SECRETS,
    as_key=st.booleans(),
)
def test_a_misplaced_secret_never_shows(
    file: Path, keys: list[str], name: str, separator: str, secret: str, *, as_key: bool
) -> None:
    text = f"{name}{separator}{secret}"
    file.write_text(yaml.safe_dump(nested(keys, {text: None} if as_key else text)), encoding="utf-8")
    assert complaint(file)
    assert secret not in complaint(file)


@given(text=st.text(alphabet=st.characters(codec="utf-8"), max_size=60))
def test_any_text_is_settings_or_refused(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
    assert all(line.startswith(f"{file}:") for line in complaint(file).splitlines())


@given(environ=st.dictionaries(st.sampled_from([variable_of(name) for name in NAMES]), st.text(max_size=12)))
def test_any_value_of_a_variable_is_taken_or_refused(file: Path, environ: dict[str, str]) -> None:
    file.write_text("", encoding="utf-8")
    settings = outcome(file, environ)
    if settings is not None:
        explicit = {name for name, origin in settings.origins.items() if origin.explicit}
        assert {next(name for name in NAMES if given.startswith(name)) for given in explicit} == {
            name for name in NAMES if variable_of(name) in environ
        }


@given(
    name=st.sampled_from([name for name in NAMES if annotation_of(name) is int]), number=st.integers(1, 200)
)
def test_file_and_variable_give_the_same_value(file: Path, name: str, number: int) -> None:
    tree: Any = number
    for key in reversed(name.split(".")):
        tree = {key: tree}
    file.write_text(yaml.safe_dump(tree), encoding="utf-8")
    from_file = outcome(file, {})
    file.write_text("", encoding="utf-8")
    from_variable = outcome(file, {variable_of(name): str(number)})
    assert (from_file and from_file.model_dump()) == (from_variable and from_variable.model_dump())


@given(user=WORDS, secret=st.text(string.ascii_letters + "@:/", min_size=1).map(lambda text: f"<{text}>"))
def test_a_password_in_a_url_never_shows(user: str, secret: str) -> None:
    shown = masked("schemas.registry_url", f"https://{user}:{secret}@registry.example.org/subjects")
    assert secret not in shown
    assert shown.endswith("@registry.example.org/subjects")


@given(rows=st.lists(st.tuples(WORDS, st.text(max_size=120), st.text(max_size=90)), max_size=5))
def test_a_table_fits_and_keeps_what_it_shows(rows: list[tuple[str, str, str]]) -> None:
    text = table(rows, ("NAME", "VALUE", "ORIGIN"))
    assert all(len(line) <= 80 for line in text.splitlines())
    shown = sorted(character for character in text if not character.isspace())
    # White space is where lines break; of the rest a terminal acts on nothing.
    said = "NAMEVALUEORIGIN" + "".join("".join("".join(row).split()) for row in rows)
    assert shown == sorted(printable(said))
