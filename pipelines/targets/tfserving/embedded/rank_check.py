"""Which graphs must not be fed an input of the wrong rank.

Most kernels answer a wrong shape with an error, and for those the real server's answer is the kernel's own.
Some (convolutions in oneDNN among them) end the whole process instead. A graph made only of operations that
are known to check their shapes is left to them; any other graph gets inputs only of the rank its signature
declares.
"""

from collections.abc import Iterator
from typing import Any

_CHECKED = frozenset(
    """
    Abs Add AddN AddV2 All Any ArgMax ArgMin AsString Assert Assign AssignVariableOp BatchMatMulV2 BiasAdd
    BroadcastTo Cast Ceil ConcatV2 Const Cos DecodeBase64 DecodeRaw DisableCopyOnRead DivNoNan EncodeBase64
    Equal Erf Erfc Exp ExpandDims Expm1 Fill Floor FloorDiv FloorMod Gather GatherV2 Greater GreaterEqual
    HashTableV2 Identity IdentityN If Inv IsFinite IsInf IsNan Less LessEqual Log Log1p LogicalAnd
    LogicalNot LogicalOr LookupTableFindV2 LookupTableImportV2 MatMul Max Maximum Mean MergeV2Checkpoints
    Min Minimum Mul Neg NoOp NotEqual OneHot OnesLike Pack ParseExample ParseExampleV2 PartitionedCall
    Placeholder PlaceholderWithDefault Pow Prod RandomUniform Range Rank ReadVariableOp RealDiv Reciprocal
    Relu Relu6 Reshape RestoreV2 Round Rsqrt SaveV2 Select SelectV2 Shape ShardedFilename Sigmoid Sign Sin
    Size Softmax Split Sqrt Square SquaredDifference Squeeze StatefulPartitionedCall StatelessIf
    StaticRegexFullMatch StridedSlice StringFormat StringJoin StringLength StringLower StringSplitV2
    StringStrip StringToHashBucketFast StringToNumber StringUpper Sub Substr Sum Tan Tanh Tile TopKV2
    Transpose TruncateDiv Unpack VarHandleOp VarIsInitializedOp Variable VariableV2 Where ZerosLike
    """.split()  # noqa: SIM905  quoted one by one they would fill three screens
)
_LOOPS = frozenset(["While", "StatelessWhile", "NextIteration", "RefNextIteration", "For"])


def needs_rank_check(graph_def: Any) -> bool:
    """Return whether a GraphDef, with its functions, has an operation not known to check its input shape."""
    return any(node.op not in _CHECKED for node in _nodes(graph_def))


def has_loop(graph_def: Any) -> bool:
    """Return whether a GraphDef, functions included, may run for as long as its input decides."""
    return any(node.op in _LOOPS for node in _nodes(graph_def))


def _nodes(graph_def: Any) -> Iterator[Any]:
    yield from graph_def.node
    for function in graph_def.library.function:
        yield from function.node_def
