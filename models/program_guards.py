"""What an exported program may be told by its claims that torch does not refuse, or refuses too late."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import Graph, GraphModule, Node
from torch.nn.functional import scaled_dot_product_attention

# With `self`, `dim` and `index`.
_ALONG = frozenset(
    {
        "index_select",
        "gather",
        "scatter",
        "scatter_add",
        "scatter_reduce",
        "index_add",
        "index_copy",
        "index_fill",
    }
)
_FROM_THE_END = frozenset({"index_fill", "take"})
_MASKS = (torch.bool, torch.uint8)


def guarded(module: GraphModule, *, indices: bool) -> GraphModule:
    """The module, which refuses what would read past the end of a tensor; with `indices`, as a GPU does not.

    On a CPU torch looks at each index. On a GPU the kernel does, and one that lies outside ends the device for the
    whole process. There they are kept within on the device, and one look at the end, where the scores are waited for
    anyway, raises IndexError as on a CPU.
    """
    for node in module.graph.nodes:
        if node.target is torch.ops.aten.scaled_dot_product_attention.default:
            node.target = _attention
    if indices:
        _guard_indices(module.graph)
    module.recompile()
    return module


def _guard_indices(graph: Graph) -> None:
    calls = [node for node in graph.nodes if isinstance(node.target, OpOverload)]
    placeholders, output = graph.find_nodes(op="placeholder"), graph.output_node()
    results = list(output.all_input_nodes)
    if not placeholders or not results:
        return
    with graph.inserting_after(placeholders[-1]):
        outside = graph.call_function(_none_yet)
    if not [node for node in calls if _keep_within(graph, node, outside)]:
        graph.erase_node(outside)
        return
    with graph.inserting_before(output):
        judged = graph.call_function(_judged, (outside, results[0]))
    output.replace_input_with(results[0], judged)


def _keep_within(graph: Graph, node: Node, outside: Node) -> bool:
    """Whether the operator has indices, which now go through a check."""
    assert isinstance(node.target, OpOverload)
    schema = node.target._schema  # noqa: SLF001 - there is no other way to its arguments' names
    names = [argument.name for argument in schema.arguments]
    given = dict(zip(names, node.args, strict=False)) | node.kwargs
    name = schema.name.removeprefix("aten::").rstrip("_")
    if (check := _check_of(name, given)) is None:
        return False
    place, function, arguments = check
    with graph.inserting_before(node):
        within = graph.call_function(function, (outside, *arguments))
    if place in node.kwargs:
        node.update_kwarg(place, within)
    else:
        node.update_arg(names.index(place), within)
    return True


def _check_of(name: str, given: dict[str, Any]) -> tuple[str, Any, tuple[Any, ...]] | None:
    """Of an operator: the argument that has its indices, what checks them, and what that is told."""
    if name == "embedding":
        return "indices", _along, (given["weight"], 0, given["indices"], False)
    if name in _ALONG:
        return "index", _along, (given["self"], given["dim"], given["index"], name in _FROM_THE_END)
    if name == "take":
        return "index", _along, (given["self"], None, given["index"], True)
    if name == "take_along_dim":
        return "indices", _along, (given["self"], given.get("dim"), given["indices"], False)
    if name in ("index", "index_put"):
        return "indices", _by_dimension, (given["self"], given["indices"])
    if name == "one_hot":
        return "self", _classes, (given["self"], given.get("num_classes", -1))
    return None


def _none_yet() -> list[Tensor]:
    """Of one forward: on the device, whether each of its indices was outside."""
    return []


def _along(outside: list[Tensor], source: Tensor, dim: int | None, index: Tensor, negative: bool) -> Tensor:
    """`dim` None: of all that is in `source`."""
    size = source.numel() if dim is None or not source.dim() else source.shape[dim]
    return _within(outside, index, size, negative)


def _by_dimension(outside: list[Tensor], source: Tensor, indices: list[Tensor | None]) -> list[Tensor | None]:
    within: list[Tensor | None] = []
    dim = 0
    for index in indices:
        if index is None or index.dtype in _MASKS:
            within.append(index)
            dim += 1 if index is None else index.dim()
        else:
            within.append(_within(outside, index, source.shape[dim], negative=True))
            dim += 1
    return within


def _classes(outside: list[Tensor], numbers: Tensor, count: int) -> Tensor:
    """`count` below 0: as many as there are."""
    return _within(outside, numbers, count if count >= 0 else torch.iinfo(numbers.dtype).max, negative=False)


def _within(outside: list[Tensor], index: Tensor, size: int, negative: bool) -> Tensor:
    if not index.numel():
        return index
    if not size:
        raise IndexError("an index into a dimension of size 0")
    within = index.clamp(-size if negative else 0, size - 1)
    outside.append((within != index).any())
    return within


def _judged(outside: list[Tensor], result: Any) -> Any:
    if outside and bool(torch.stack(outside).any()):
        raise IndexError("an index lies outside of the table or the dimension that it is for")
    return result


def _attention(query: Tensor, key: Tensor, value: Tensor, *rest: Any, **options: Any) -> Tensor:
    """torch's own reads past the end of `key` where `value` is longer (2.15, on a CPU)."""
    if key.shape[-2] != value.shape[-2]:
        raise ValueError(f"keys of shape {tuple(key.shape)} have values of shape {tuple(value.shape)}")
    return scaled_dot_product_attention(query, key, value, *rest, **options)
