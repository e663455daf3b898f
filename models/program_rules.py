"""What an exported program may say. Pure; needs no torch.

torch turns parts of a program into Python that it runs: names of nodes become source text, sizes go through sympy's
`sympify`, which evaluates, guards are compiled, and an operator may be any attribute of torch. So operators are those
of `program_operators`, everything that is text here has to be of a known form, and whatever is not needed for scoring
is left out before torch sees it.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.errors import ArtifactError
from models.program_operators import is_run

_NAME = re.compile(r"(?!__)[A-Za-z_][A-Za-z0-9_]{0,199}")
_PATH = re.compile(rf"{_NAME.pattern}(?:\.(?:{_NAME.pattern}|[0-9]{{1,9}}))*")
_WORD = re.compile(r"[A-Za-z_,>. -]{0,64}")
_SYMBOL = re.compile(r"[a-z]{1,4}[0-9]{1,9}")
_ATEN = re.compile(
    r"torch\.ops\.aten\.([a-z][a-z0-9_]{0,99}|_[a-z][a-z0-9_]{0,99})\.([A-Za-z][A-Za-z0-9_]{0,99})"
)

_ASSERTION = "_assert_scalar"
_SYMBOLIC = frozenset(
    {
        f"_operator.{name}"
        for name in [
            "add",
            "sub",
            "mul",
            "floordiv",
            "mod",
            "neg",
            "eq",
            "ne",
            "lt",
            "le",
            "gt",
            "ge",
            "and_",
            "or_",
            "not_",
            "getitem",
        ]
    }
    | {"math.ceil", "math.floor", "math.trunc"}
    | {f"torch.{name}" for name in ["sym_int", "sym_float", "sym_max", "sym_min", "sym_not", "sym_ite"]}
)
_FUNCTIONS = frozenset(
    [
        "Symbol",
        "Integer",
        "Float",
        "Rational",
        "Add",
        "Mul",
        "Max",
        "Min",
        "Mod",
        "Eq",
        "Ne",
        "Ge",
        "Gt",
        "Le",
        "Lt",
        "And",
        "Or",
        "Not",
        "Equality",
        "Unequality",
        "GreaterThan",
        "LessThan",
        "StrictGreaterThan",
        "StrictLessThan",
        "true",
        "false",
        "FloorDiv",
        "ModularIndexing",
        "Where",
        "PythonMod",
        "CleanDiv",
        "CeilToInt",
        "FloorToInt",
        "CeilDiv",
        "FloatTrueDiv",
        "IntTrueDiv",
        "TruncToFloat",
        "TruncToInt",
        "ToFloat",
        "Identity",
    ]
)
_ASSUMPTIONS = frozenset(
    ["positive", "integer", "nonnegative", "negative", "nonzero", "real", "finite", "evaluate"]
)
_EXPRESSION_LIMIT = 2_000
_NUMBER_LIMIT = 2**63
_GRAMMAR = (
    ast.Expression,
    ast.BinOp,
    ast.UnaryOp,
    ast.Compare,
    ast.Load,
    ast.Add,
    ast.Sub,
    ast.Mult,
    ast.USub,
)
_COMPARISONS = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.FloorDiv, ast.Mod, ast.Div)

_UNWANTED = ("as_graph", "as_operator", "as_custom_obj", "custom_obj", "as_strings", "as_string_to_argument")
_NAMES = frozenset({"name", "as_name", "user_input_name"})
_PATHS = frozenset({"parameter_name", "buffer_name", "tensor_constant_name"})
_CONTAINERS = (None, "builtins.tuple", "builtins.list", "builtins.dict")
# As the exporter writes what JSON has no number for.
_FLOATS = frozenset({"Infinity", "-Infinity", "NaN"})
_VERIFIERS = frozenset({"TRAINING", "ATEN"})
_STRIDED = 7
_LAYOUTS = ("layout", "as_layout")
_ITEM_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 2, 7: 4, 8: 8, 12: 1, 13: 2, 29: 1, 30: 1}


@dataclass(frozen=True, slots=True)
class Payload:
    """A tensor of an archive: its member, torch's number of its type, and where it lies in the member, in items."""

    path: str
    dtype: int
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    is_parameter: bool


def harmless(program: Any, name: str) -> dict[str, Any]:
    """The program with what scoring needs, everything of a known form. Raises ArtifactError."""
    rules = _Rules(f"{name}: models/model.json")
    try:
        module = program["graph_module"]
        (entry,) = [entry for entry in module["module_call_graph"] if entry["fqn"] == ""]
        return {
            "graph_module": {
                "graph": rules.graph(module["graph"]),
                "signature": rules.walk(module["signature"]),
                "module_call_graph": [{"fqn": "", "signature": rules.call(entry["signature"])}],
            },
            "opset_version": {},
            "range_constraints": rules.walk(program["range_constraints"]),
            "schema_version": rules.walk(program["schema_version"]),
            "verifiers": [rules.one_of(verifier, _VERIFIERS) for verifier in program["verifiers"]],
        }
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"{rules.place} is not an exported program: {error!r}") from error


def payloads(config: Any, folder: str, sizes: Mapping[str, int], place: str) -> dict[str, Payload]:
    """Where each tensor lies, within a member that is there. Raises ArtifactError."""
    rules = _Rules(place)
    try:
        return {
            rules.matching(key, _PATH): rules.payload(entry, folder, sizes)
            for key, entry in config["config"].items()
        }
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(f"{place} does not describe tensors: {error!r}") from error


class _Rules:
    def __init__(self, place: str) -> None:
        self.place = place

    def graph(self, graph: dict[str, Any]) -> dict[str, Any]:
        if graph.get("custom_obj_values"):
            raise self._refusal("custom objects", "custom_obj_values")
        kept = {
            key: self.walk(value) for key, value in graph.items() if key not in ("nodes", "custom_obj_values")
        }
        return kept | {"nodes": [self._node(node) for node in graph["nodes"]], "custom_obj_values": {}}

    def call(self, signature: dict[str, Any]) -> dict[str, Any]:
        names = [self.matching(name, _NAME) for name in signature.get("forward_arg_names") or []]
        return {
            "inputs": [],
            "outputs": [],
            "in_spec": self._tree(signature["in_spec"]),
            "out_spec": self._tree(signature["out_spec"]),
            "forward_arg_names": names or None,
        }

    def payload(self, entry: dict[str, Any], folder: str, members: Mapping[str, int]) -> Payload:
        if entry["use_pickle"] is not False:
            raise self._refusal("a pickled tensor", entry["path_name"])
        meta, path = entry["tensor_meta"], folder + entry["path_name"]
        if path not in members or meta["layout"] != _STRIDED or meta["dtype"] not in _ITEM_BYTES:
            raise self._refusal("a tensor that is not stored plainly", path)
        sizes, strides = (tuple(_whole(item["as_int"]) for item in meta[key]) for key in ("sizes", "strides"))
        offset = _whole(meta["storage_offset"]["as_int"])
        reach = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True)) + 1
        if 0 not in sizes and reach * _ITEM_BYTES[meta["dtype"]] > members[path]:
            raise self._refusal("a tensor that leaves its member", path)
        return Payload(path, meta["dtype"], sizes, strides, offset, entry["is_param"] is True)

    def walk(self, value: Any, key: str = "") -> Any:
        """The same value; every text and every key in it has the form that its place asks for."""
        if isinstance(value, dict):
            return {self._key(name): self._part(name, item) for name, item in value.items()}
        if isinstance(value, list):
            return [self.walk(item) for item in value]
        return self._text(value, key) if isinstance(value, str) else value

    def _part(self, name: str, item: Any) -> Any:
        if name in _LAYOUTS and item != _STRIDED:
            raise self._refusal("a tensor that is not stored plainly", f"{name}: {item}")
        return self.walk(item, name)

    def one_of(self, value: Any, known: frozenset[str]) -> Any:
        if value not in known:
            raise self._refusal("something unknown", value)
        return value

    def matching(self, text: Any, pattern: re.Pattern[str]) -> str:
        if not isinstance(text, str) or not pattern.fullmatch(text):
            raise self._refusal("a name that is none", text)
        return text

    def _node(self, node: dict[str, Any]) -> dict[str, Any]:
        inputs = self.walk(node["inputs"])
        operator = self._operator(node["target"])
        if operator == _ASSERTION:
            inputs = [_silenced(item) for item in inputs]
        name = node.get("name")
        return {
            "target": node["target"],
            "inputs": inputs,
            "outputs": self.walk(node["outputs"]),
            "metadata": {},
            "is_hop_single_tensor_return": None,
            "name": None if name is None else self.matching(name, _NAME),
        }

    def _operator(self, target: Any) -> str:
        """The operator's own name."""
        if isinstance(target, str) and target in _SYMBOLIC:
            return target
        found = _ATEN.fullmatch(target) if isinstance(target, str) else None
        if found is None or not is_run(found[1], found[2]):
            raise self._refusal(
                "an operator that is not run here (models/program_operators.py has those that are)", target
            )
        return found[1]

    def _key(self, key: str) -> str:
        if key in _UNWANTED:
            raise self._refusal("a part that is not run here", key)
        return self.matching(key, _NAME)

    def _text(self, text: str, key: str) -> str:
        if key in _NAMES:
            return text and self.matching(text, _NAME)
        if key in _PATHS:
            return self.matching(text, _PATH)
        if key == "as_string":
            return text if _WORD.fullmatch(text) else ""
        if key == "as_float" and text in _FLOATS:
            return text
        if key == "expr_str":
            return self._expression(text)
        if key == "type" and text == "cpu":
            return text
        raise self._refusal("a text where none belongs", f"{key}: {text}")

    def _expression(self, text: str) -> str:
        try:
            tree = ast.parse(text[: _EXPRESSION_LIMIT + 1], mode="eval")
            if len(text) > _EXPRESSION_LIMIT or not all(map(_is_arithmetic, ast.walk(tree))):
                raise self._refusal("an expression that is no arithmetic on sizes", text)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise self._refusal("an expression that cannot be read", text) from error
        return text

    def _tree(self, text: str) -> str:
        protocol, spec = json.loads(text)
        self._container(spec)
        return json.dumps([_whole(protocol), spec])

    def _container(self, spec: dict[str, Any]) -> None:
        if set(spec) != {"type", "context", "children_spec"} or spec["type"] not in _CONTAINERS:
            raise self._refusal("arguments that are no tuples, lists or dicts", spec.get("type"))
        for key in json.loads(spec["context"] or "null") or []:
            self.matching(key, _NAME)
        for child in spec["children_spec"]:
            self._container(child)

    def _refusal(self, what: str, found: object) -> ArtifactError:
        return ArtifactError(f"{self.place} has {what}: {str(found)[:80]!r}; it is not loaded")


def _is_arithmetic(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return _is_plain(node.value)
    if isinstance(node, ast.Name):
        return node.id in _FUNCTIONS or bool(_SYMBOL.fullmatch(node.id))
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS
    if isinstance(node, ast.keyword):
        return node.arg in _ASSUMPTIONS
    return isinstance(node, (*_GRAMMAR, *_COMPARISONS))


def _is_plain(value: object) -> bool:
    if isinstance(value, str):
        return bool(_SYMBOL.fullmatch(value))
    return isinstance(value, bool | int | float) and abs(value) <= _NUMBER_LIMIT


def _silenced(item: dict[str, Any]) -> dict[str, Any]:
    """An assertion's message is text of the exporter's; it is not needed."""
    return item | {"arg": {"as_string": ""}} if "as_string" in item["arg"] else item


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _NUMBER_LIMIT:
        raise ValueError(f"{value!r} is no whole number")
    return value
