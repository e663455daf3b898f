"""The ATen operators that an exported program may call. Pure; needs no torch.

Each checks shapes and indices against the memory that it touches, whatever its arguments are. Operators of sparse,
nested and resized tensors do not, nor do some that trust the sizes that they are told (`native_group_norm`, `lstm`,
`repeat_interleave`, `embedding_bag`). What `torch.export.export` makes of dense networks is here; whoever adds one
looks first whether its kernels check.
"""

from __future__ import annotations

_ARITHMETIC = """
abs add sub rsub subtract mul multiply div divide true_divide floor_divide remainder fmod pow square sqrt rsqrt neg
negative reciprocal exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan atan2 sinh cosh tanh erf erfc sigmoid
logit ceil floor round trunc sign clamp clamp_min clamp_max clip maximum minimum lerp addcmul addcdiv hypot nan_to_num
where masked_fill fill zero
"""
_COMPARISONS = """
eq ne lt le gt ge logical_and logical_or logical_not logical_xor bitwise_and bitwise_or bitwise_not bitwise_xor isnan
isinf isfinite isin
"""
_ACTIVATIONS = """
relu relu6 elu selu celu gelu silu mish glu hardtanh hardsigmoid hardswish leaky_relu prelu threshold softplus
log_sigmoid softmax log_softmax dropout feature_dropout
"""
_LAYERS = """
linear matmul mm bmm mv dot outer addmm addmv addbmm baddbmm einsum embedding conv1d convolution layer_norm
native_layer_norm rms_norm group_norm instance_norm batch_norm avg_pool1d max_pool1d adaptive_avg_pool1d
scaled_dot_product_attention cosine_similarity
"""
_REDUCTIONS = """
sum mean prod amax amin max min argmax argmin any all std var std_mean var_mean norm linalg_vector_norm logsumexp cumsum
cumprod sort argsort topk nonzero count_nonzero nansum nanmean
"""
_INDEXING = """
index index_select index_add index_copy index_fill index_put gather scatter scatter_add scatter_reduce take
take_along_dim masked_select one_hot searchsorted bucketize tril triu select slice narrow diagonal select_scatter
slice_scatter unfold
"""
_SHAPES = """
view view_as reshape reshape_as flatten unflatten squeeze unsqueeze permute transpose t swapaxes movedim expand
expand_as broadcast_to repeat tile cat concat stack split split_with_sizes chunk unbind flip roll pad constant_pad_nd
"""
_MAKING = """
zeros ones full arange linspace eye scalar_tensor zeros_like ones_like full_like new_zeros new_ones new_full clone copy
contiguous detach alias to type_as lift_fresh_copy item
"""
_SIZES = """
sym_size sym_numel sym_stride sym_storage_offset sym_constrain_range sym_constrain_range_for_size
"""
# Of those whose name begins with an underscore, which check their arguments less, those that exports use.
_PRIVATE = """
_assert_scalar _assert_tensor_metadata _to_copy _softmax _log_softmax _unsafe_view
"""
_WRITING = """
index_add index_copy index_fill index_put scatter scatter_add scatter_reduce copy detach squeeze unsqueeze transpose t
cumsum cumprod tril triu
"""
# Of an operator by what it takes. Others resize a tensor that is given for the result.
_WAYS = """
default Tensor Scalar int self other device dtype dtype_layout dim dims dim_int dim_IntList Tensor_mode Scalar_mode
Tensor_Tensor Tensor_Scalar Scalar_Tensor ScalarSelf ScalarOther ScalarOpt_dim ScalarOpt_dtype ScalarOpt_dim_dtype
start start_step m using_ints intlist padding int_Scalar int_Tensor src value reduce value_reduce two sizes correction
decimals stable
"""
_READS_AS_ANOTHER_TYPE = ("view", "dtype")


def _names(*texts: str) -> frozenset[str]:
    return frozenset(" ".join(texts).split())


_ELEMENTWISE = (_ARITHMETIC, _COMPARISONS, _ACTIVATIONS)
OPERATORS = _names(
    *_ELEMENTWISE, _LAYERS, _REDUCTIONS, _INDEXING, _SHAPES, _MAKING, _SIZES, _PRIVATE
) | frozenset(f"{name}_" for name in _names(*_ELEMENTWISE, _WRITING))
OVERLOADS = _names(_WAYS)


def is_run(name: str, overload: str) -> bool:
    """Whether a program may call an operator, of those that torch has."""
    return name in OPERATORS and overload in OVERLOADS and (name, overload) != _READS_AS_ANOTHER_TYPE
