"""A mapping says which CSV columns make which fields of a claim. It is data: a YAML file, checked here."""

from __future__ import annotations

import difflib
import re
import stat
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from stream.errors import UsageError
from stream.publishing.file_kinds import mode_of

SPAN = re.compile(r"\{(\d+)\.\.(\d+)\}")
DATE_FORMATS = ("%Y-%m-%d",)

# A tab or a blank may be what stands between values.
Between = Annotated[str, StringConstraints(strip_whitespace=False, min_length=1)]


class MappingModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


def expand(pattern: str) -> tuple[str, ...]:
    """`CODE_{1..3}` stands for CODE_1, CODE_2, CODE_3."""
    span = SPAN.search(pattern)
    if span is None:
        return (pattern,)
    numbers = range(int(span[1]), int(span[2]) + 1)
    return tuple(pattern[: span.start()] + str(number) + pattern[span.end() :] for number in numbers)


def folded(name: str) -> str:
    """The name without what a loose match does not look at."""
    return re.sub(r"[\W_]+", "", name).casefold()


def _expanded(value: Any) -> Any:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        return value
    return tuple(column for name in names for column in expand(name))


class Source(MappingModel):
    """Where a field's text comes from: the first of `columns` that is not empty, or a constant.

    A bare string in the YAML stands for one column. `values` replaces texts (compared after `case`); a text
    that it does not know becomes `default`, or rejects the row where there is none.
    """

    columns: tuple[str, ...] = ()
    constant: str | None = None
    default: str | None = None
    case: Literal["lower", "upper"] | None = None
    values: dict[str, str] = Field(default_factory=dict)
    formats: tuple[str, ...] = DATE_FORMATS

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"columns": expand(value)}
        if isinstance(value, dict) and "column" in value:
            if "columns" in value:
                raise ValueError("give `column` or `columns`, not both")
            rest = {key: entry for key, entry in value.items() if key != "column"}
            return {**rest, "columns": value["column"]}
        return value

    @field_validator("columns", mode="before")
    @classmethod
    def _expand_columns(cls, value: Any) -> Any:
        return _expanded(value)

    @model_validator(mode="after")
    def _one_origin(self) -> Source:
        if bool(self.columns) == (self.constant is not None):
            raise ValueError("give either `column`/`columns` or `constant`")
        return self


class CodeSource(MappingModel):
    """A code list spread over columns, with the code system of each row.

    With a `separator` a cell holds several codes.
    """

    system: Source
    columns: tuple[str, ...] = Field(min_length=1)
    separator: Between | None = None
    case: Literal["lower", "upper"] | None = None

    @field_validator("columns", mode="before")
    @classmethod
    def _expand_columns(cls, value: Any) -> Any:
        return _expanded(value)


class ClaimSources(MappingModel):
    claim_id: Source
    claim_type: Source
    member_id: Source
    provider_id: Source | None = None
    service_date: Source
    received_date: Source | None = None


class LineSources(MappingModel):
    """Each row of the file is one line of its claim; `order` sorts the lines."""

    order: Source | None = None
    procedure_code: Source | None = None
    revenue_code: Source | None = None
    units: Source | None = None
    charge: Source | None = None


class FileFormat(MappingModel):
    delimiter: Between = Field(default=",", max_length=1)
    line_breaks_in_values: bool = False
    nulls: tuple[str, ...] = ()

    @field_validator("delimiter")
    @classmethod
    def _neither_end_nor_quote(cls, delimiter: str) -> str:
        if delimiter in '\r\n"':
            raise ValueError(f"{delimiter!r} ends rows or quotes values: it cannot stand between two")
        return delimiter


class Headers(MappingModel):
    """How the file may name the mapping's columns: `also` lists other names, `optional` what may be missing.

    A loose match does not look at case, spaces and punctuation.
    """

    match: Literal["exact", "loose"] = "exact"
    also: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    optional: tuple[str, ...] = ()

    @field_validator("optional", mode="before")
    @classmethod
    def _expand_columns(cls, value: Any) -> Any:
        return _expanded(value)


class Table(MappingModel):
    """Another file beside the claims' file, which it is joined to where `key` equals the claims' column `matches`.

    `file` is its name without ending. With `many` each of its rows is a line of its claim; `where` says which of its
    rows count, by column and values.
    """

    file: str
    key: str
    matches: str
    many: bool = False
    where: dict[str, tuple[str, ...]] = Field(default_factory=dict)

    @field_validator("file")
    @classmethod
    def _without_folder(cls, file: str) -> str:
        if Path(file).name != file or file in ("", ".."):
            raise ValueError(f"{file!r} is no name of a file alone: tables lie in the folder of the claims")
        return file


class Mapping(MappingModel):
    """Rows with the same claim_id make one claim, wherever they stand in the file.

    `outcomes` are columns that say what became of a claim: no field may be read from them.
    """

    description: str = ""
    format: FileFormat = FileFormat()
    headers: Headers = Headers()
    tables: dict[str, Table] = Field(default_factory=dict)
    outcomes: tuple[str, ...] = ()
    claim: ClaimSources
    codes: tuple[CodeSource, ...] = ()
    line: LineSources | None = None
    attributes: dict[str, Source] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _known_columns(self) -> Mapping:
        columns = self.columns()
        told = {said: name for name in self.outcomes for said in self._ways(name)}
        for name, key in columns.items():
            if outcome := next((told[said] for said in self._ways(name) if said in told), None):
                raise ValueError(
                    f"{key} is read from {name}, which is among the outcomes{self._as(outcome, name)}: a claim must"
                    " not carry what became of it. Take it from one of the two"
                )
        for name in (*self.headers.also, *self.headers.optional):
            if name not in columns and name not in self.outcomes:
                nearest = difflib.get_close_matches(name, columns, n=1)
                hint = f"; did you mean {nearest[0]}?" if nearest else ""
                raise ValueError(f"headers names {name}, which nothing is read from{hint}")
        return self

    @model_validator(mode="after")
    def _one_table_of_lines(self) -> Mapping:
        if len([alias for alias, table in self.tables.items() if table.many]) > 1:
            raise ValueError("more than one of the tables has `many`: lines come from one table")
        return self

    def _ways(self, name: str) -> set[str]:
        """How a file may name the column, as it is compared."""
        table = self.table_of(name)
        others = self.headers.also.get(name, ())
        said = {name, *(other if table is None else f"{table}.{other}" for other in others)}
        return set(map(folded, said)) if self.headers.match == "loose" else said

    @staticmethod
    def _as(outcome: str, name: str) -> str:
        return "" if outcome == name else f" as {outcome}"

    def table_of(self, column: str) -> str | None:
        """The table whose column it is, if it is not the claims' own: `encounter` of encounter.Id."""
        alias = column.partition(".")[0]
        return alias if alias in self.tables and alias != column else None

    def sources(self) -> dict[str, Source]:
        """Every source by its key in the mapping, code lists aside."""
        found = {f"claim.{name}": source for name, source in self.claim if source is not None}
        if self.line is not None:
            found.update({f"line.{name}": source for name, source in self.line if source is not None})
        found.update({f"attributes.{name}": source for name, source in self.attributes.items()})
        found.update({f"codes.{number}.system": entry.system for number, entry in enumerate(self.codes)})
        return found

    def columns(self) -> dict[str, str]:
        """Every CSV column that is read, with the first key that names it."""
        keys: dict[str, str] = {}
        for key, source in self.sources().items():
            for column in source.columns:
                keys.setdefault(column, key)
        for number, entry in enumerate(self.codes):
            for column in entry.columns:
                keys.setdefault(column, f"codes.{number}.columns")
        return keys


def shipped_mappings() -> tuple[str, ...]:
    folder = files(__package__).joinpath("mappings")
    return tuple(sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".yaml")))


def load_mapping(name_or_path: str) -> Mapping:
    """A shipped mapping by name, or one's own by path. Raises UsageError naming file and key."""
    path = Path(name_or_path)
    if name_or_path in shipped_mappings():
        resource = files(__package__).joinpath("mappings", f"{name_or_path}.yaml")
        return parse_mapping(resource.read_text(encoding="utf-8"), f"mapping {name_or_path}")
    if (mode := mode_of(path)) is not None and stat.S_ISREG(mode):
        return parse_mapping(_text(path), name_or_path)
    shipped = ", ".join(shipped_mappings())
    nearest = difflib.get_close_matches(name_or_path, shipped_mappings(), n=1)
    hint = f" Did you mean {nearest[0]}?" if nearest else ""
    raise UsageError(
        f"no mapping {name_or_path}: neither a file nor a shipped mapping ({shipped}).{hint}"
        " Name one of these, or the path of your own YAML file."
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the mapping {path}: {error}") from error


def parse_mapping(text: str, origin: str) -> Mapping:
    """The mapping in `text`; `origin` names the file in messages."""
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # Beside its own errors YAML gives those of the values it makes: of a date that there is not.
        raise UsageError(f"{origin} is not YAML: {error}") from error
    if not isinstance(document, dict):
        raise UsageError(f"{origin} is not a mapping: it needs a `claim` section (see the shipped tuva.yaml)")
    try:
        return Mapping.model_validate(document)
    except ValidationError as error:
        raise UsageError(f"{origin} is not valid:\n{_explained(error)}") from error


def _explained(error: ValidationError) -> str:
    return "\n".join(f"  {_key(entry)}: {_reason(entry)}" for entry in error.errors())


def _key(entry: Any) -> str:
    return ".".join(str(part) for part in entry["loc"]) or "(file)"


def _reason(entry: Any) -> str:
    if entry["type"] == "missing":
        return "this key is required"
    if entry["type"] != "extra_forbidden":
        return str(entry["msg"]).removeprefix("Value error, ")
    known = _known_keys(entry["loc"][:-1])
    nearest = difflib.get_close_matches(str(entry["loc"][-1]), known, n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else f"known here: {', '.join(known)}"
    return f"unknown key; {hint}"


def _known_keys(parents: tuple[int | str, ...]) -> list[str]:
    sections: dict[str, type[BaseModel]] = {
        "claim": ClaimSources,
        "line": LineSources,
        "format": FileFormat,
        "headers": Headers,
        "codes": CodeSource,
        "tables": Table,
    }
    if not parents:
        return list(Mapping.model_fields)
    section = sections.get(str(parents[0]))
    names = [part for part in parents if isinstance(part, str)]
    if section is not None and len(names) == 1:
        return list(section.model_fields)
    return ["column", *Source.model_fields]
