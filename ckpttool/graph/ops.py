"""What ops are: one table of traits, each a set of op types. Every module that asks what an op does asks here.

    if node.op in PLACEHOLDERS: ...

A trait is a set of names, or a `Family` where the names follow a rule; a dict where the trait has a value. Which ops
compute and do nothing else, so that they may run, is a table of its own, `computing_ops`.
After tensorflow/core/ops/*.cc.
"""

import re
from collections.abc import Container
from typing import Literal, NamedTuple


class Family(Container[str]):
    """Op types whose names follow a rule.

    >>> "StatelessRandomNormalV2" in RANDOM, "Relu" in RANDOM
    (True, False)
    """

    def __init__(self, rule: str) -> None:
        """Take a regular expression that a whole type must match; each type is matched once."""
        self._rule = re.compile(rule)
        self._known: dict[object, bool] = {}

    def __contains__(self, op: object) -> bool:
        if op not in self._known:
            self._known[op] = isinstance(op, str) and self._rule.fullmatch(op) is not None
        return self._known[op]


# Variables

REFERENCE_VARIABLES = frozenset({"Variable", "VariableV2"})
"""TensorFlow 1's variables, which hand out a reference to their buffer."""
VARIABLES = REFERENCE_VARIABLES | {"VarHandleOp", "AutoReloadVariable"}
READS = frozenset({"Identity", "ReadVariableOp"})
"""What gives a variable's value, unchanged."""
LOOKS = READS | {"DisableCopyOnRead", "VarIsInitializedOp", "IsVariableInitialized"}
"""What reads a variable or asks about it, and computes nothing with it."""
ASSIGNS = frozenset({"Assign", "AssignVariableOp"})

APPLY = re.compile(r"(?:Resource)?(?:Sparse)?Apply(?P<optimizer>[A-Z]\w*)")
"""The ops with which optimizers change variables: `ApplyMomentum`, `ResourceSparseApplyMomentum`."""
SLOTS = {
    "GradientDescent": 0,
    "ProximalGradientDescent": 0,
    "Momentum": 1,
    "KerasMomentum": 1,
    "Adagrad": 1,
    "AdagradV2": 1,
    "ProximalAdagrad": 1,
    "AddSign": 1,
    "PowerSign": 1,
    "AdagradDA": 2,
    "Adadelta": 2,
    "Ftrl": 2,
    "FtrlV2": 2,
    "RMSProp": 2,
    "Adam": 2,
    "AdaMax": 2,
    "CenteredRMSProp": 3,
    "AdamWithAmsgrad": 3,
}
"""How many slots an optimizer's op changes along with the variable, which it takes first."""
POWERS = {"Adam": 2, "AdamWithAmsgrad": 2, "AdaMax": 1}
"""How many powers of its betas an optimizer's op reads behind these; they are slots too, which another op changes."""


class Update(NamedTuple):
    """An op on references: its resource form, how many of its first inputs are references, what changes besides."""

    resource: str
    references: int = 1
    renamed_attrs: tuple[tuple[str, str], ...] = ()
    dropped_attrs: tuple[str, ...] = ()
    returns_reference: bool = True


_DTYPE = (("T", "dtype"),)
UPDATES = {
    **{
        f"{sparse}Apply{optimizer}": Update(f"Resource{sparse}Apply{optimizer}", 1 + slots)
        for optimizer, slots in SLOTS.items()
        for sparse in ("", "Sparse")
    },
    **{
        name: Update(f"{name}VariableOp", 1, _DTYPE, ("use_locking", "validate_shape"))
        for name in ("Assign", "AssignAdd", "AssignSub")
    },
    **{
        f"Scatter{name}": Update(f"ResourceScatter{name}", 1, _DTYPE, ("use_locking",))
        for name in ("Update", "Add", "Sub", "Mul", "Div", "Min", "Max")
    },
    **{f"ScatterNd{name}": Update(f"ResourceScatterNd{name}") for name in ("Update", "Add", "Sub", "Min", "Max")},
    "StridedSliceAssign": Update("ResourceStridedSliceAssign"),
    "CountUpTo": Update("ResourceCountUpTo", returns_reference=False),
}
"""The ops that change reference variables in place, by their type."""
RESOURCE_UPDATES = {update.resource: update for update in UPDATES.values()}
"""The ops that change resource variables in place, by their type."""

TABLE_FILLERS = frozenset(
    {
        *("InitializeTable", "InitializeTableV2", "InitializeTableFromTextFile", "InitializeTableFromTextFileV2"),
        *("LookupTableImport", "LookupTableImportV2"),
    }
)
"""What puts all of its content into a table."""
CHANGES = (
    UPDATES.keys()
    | RESOURCE_UPDATES.keys()
    | TABLE_FILLERS
    | {
        *("LookupTableInsert", "LookupTableInsertV2", "LookupTableRemoveV2", "RngSkip", "RngReadAndSkip"),
        *("ResourceApplyKerasMomentum", "DestroyResourceOp", "DestroyTemporaryVariable", "Assert"),
    }
)
"""What changes a variable, a table or a generator, or stops a run: whoever leaves it out computes something else."""

# Savers

SAVES = {"SaveV2": 3, "SaveSlices": 3, "Save": 2}
"""The ops that write tensors, and how many inputs come before these: file, names and, but for the last, slices."""
RESTORES = frozenset({"Restore", "RestoreSlice", "RestoreV2"})
"""The ops that read tensors of a checkpoint: one output for each name."""
SLICED_SAVERS = frozenset({"SaveV2", "SaveSlices", "RestoreV2", "RestoreSlice"})
"""Savers that name slices beside tensors."""
SAVER_DTYPES = {"SaveV2": "dtypes", "SaveSlices": "T", "Save": "T", "RestoreV2": "dtypes"}
"""The attribute of savers that lists the dtypes of their tensors."""
COPIES = frozenset({"Identity", "ReadVariableOp", "Cast", "Reshape"})
"""What stands between a variable and a saver without making another value of it."""

# What is fed, and what is chosen

PLACEHOLDERS = frozenset({"Placeholder", "PlaceholderV2", "PlaceholderWithDefault"})
REQUIRED_PLACEHOLDERS = PLACEHOLDERS - {"PlaceholderWithDefault"}
STREAMS = Family(
    r"(MultiDevice)?IteratorGetNext\w*|DatasetToSingleElement|Queue\w*Dequeue\w*|BarrierTakeMany"
    r"|Reader(Read|ReadUpTo)(V2)?|RecordInput|Unstage|InfeedDequeue(Tuple)?"
)
"""Where rows come into a graph that nobody feeds."""
TEXT_PARSERS = Family(r"Parse(Single)?(Sequence)?Example(V2)?|ParseTensor|Decode\w+|StringToNumber|Substr")
"""What makes numbers of texts, or texts of texts: serialised records, images, lines."""
SELECTS = frozenset({"Select", "SelectV2"})
CONDITIONALS = frozenset({"If", "StatelessIf"})
CASES = frozenset({"Case", "StatelessCase"})
LOOPS = frozenset({"While", "StatelessWhile"})
CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})

# Control flow of TensorFlow 1

SWITCHES = frozenset({"Switch", "RefSwitch", "_SwitchN"})
MERGES = frozenset({"Merge", "RefMerge"})
ENTERS = frozenset({"Enter", "RefEnter"})
EXITS = frozenset({"Exit", "RefExit"})
NEXT_ITERATIONS = frozenset({"NextIteration", "RefNextIteration"})
REFERENCE_FLOW = {f"Ref{name}": name for name in ("Switch", "Merge", "Enter", "Exit", "Identity", "NextIteration")}
"""What passes references on, and what passes handles on in its place."""
FLOW = frozenset(REFERENCE_FLOW.values())

# What passes values on

FORMS = frozenset({"Identity", "StopGradient", "Reshape", "Squeeze", "ExpandDims"})
"""What gives the same values, in another form at most."""
PICKS = FORMS | {"Transpose", "MaxPool", "Switch", "Merge"}
"""What only picks, moves or joins values: an activation before it is still one behind it."""
WEIGHT_PASSES = READS | ENTERS | SWITCHES | {"RefIdentity", "Cast", "StopGradient"}
"""What stands between a weight and the op that computes with it."""
JOINS = frozenset({"Concat", "ConcatV2"})
SHAPES = frozenset({"Shape", "ShapeN", "Size", "Rank", "VariableShape"})
"""What gives the shape of a tensor and nothing of its values."""
SHAPED_LIKE = SHAPES | {"ZerosLike", "OnesLike"}

# What computes

ACTIVATIONS = frozenset(
    {"Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Sigmoid", "Tanh", "Softplus", "Softsign", "Softmax"}
)
PROBABILITIES = frozenset({"Softmax", "Sigmoid", "Softplus"})
"""Activations that stand above logits rather than between layers."""
CONVOLUTIONS = frozenset({"Conv2D", "Conv3D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "Conv3DBackpropInputV2"})
SAME_SHAPE = frozenset(
    {"Identity", "ReadVariableOp", "StopGradient", "Cast", "PlaceholderWithDefault", "CheckNumerics"}
)
"""What gives its first input, perhaps as another dtype."""
ELEMENTWISE = SAME_SHAPE | {
    *("Relu", "Relu6", "Elu", "Selu", "LeakyRelu", "Tanh", "Sigmoid", "Softplus", "Softsign", "Softmax", "LogSoftmax"),
    *("Square", "Sqrt", "Rsqrt", "Exp", "Log", "Neg", "Abs", "Sign", "Floor", "LRN", "MaxPool", "AvgPool"),
    *("ZerosLike", "OnesLike", "Pow", "Reciprocal"),
}
"""What has the shape of its first input in the dimensions that weights have a part in."""
BROADCASTING = frozenset(
    {
        *("Add", "AddV2", "Sub", "Mul", "RealDiv", "Div", "DivNoNan", "Maximum", "Minimum", "SquaredDifference"),
        *("Greater", "GreaterEqual", "Less", "LessEqual", "Equal", "LogicalAnd"),
    }
)
"""What computes with two tensors element by element."""
ADDS = frozenset({"Add", "AddV2", "AddN", "Sub", "Neg"})
"""What adds terms up, with their signs."""
SCALES = frozenset({"Mul", "RealDiv", "Div"})
"""What multiplies, or divides."""
NONLINEAR = ACTIVATIONS | {
    "LogSoftmax",
    "Erf",
    "Erfc",
    "Exp",
    "Maximum",
    "Minimum",
    "Select",
    "SelectV2",
    "ClipByValue",
}
"""What activations are made of."""
ELEMENT_BY_ELEMENT = (
    (ELEMENTWISE | BROADCASTING | SELECTS | NONLINEAR | {"IdentityN", "Log1p", "Softplus"})
    - PLACEHOLDERS
    - {"LRN", "MaxPool", "AvgPool", "ZerosLike", "OnesLike"}
)
"""What computes each element of its result from the same elements of what it reads."""
MOMENTS = frozenset({"Mean", "Sum", "Squeeze", "Reshape"})
"""What the mean and the variance of a row are made by, besides what computes element by element."""
UNDOES = {"Squeeze": "ExpandDims", "Reshape": "Reshape", "Transpose": "Transpose", "BatchToSpaceND": "SpaceToBatchND"}
"""What gives a tensor the form back that another op has changed."""
LOOP_RESULTS = FORMS | frozenset(
    {
        *("TensorListStack", "TensorListGetItem", "TensorListConcatV2", "TensorArrayGatherV3", "TensorArrayReadV3"),
        *("Transpose", "StridedSlice", "Slice", "ReverseV2", "ReverseSequence", "Cast"),
    }
)
"""What picks and orders what a loop has gathered."""

RANDOM = Family(
    r"(Stateless)?(Parameterized)?(Random|TruncatedNormal|Multinomial)\w*"
    r"|Stateful(Uniform|StandardNormal|TruncatedNormal|Random)\w*|RngReadAndSkip|\w*CandidateSampler|Fractional\w+Pool"
)
"""What draws random numbers."""
STATEFUL = Family(
    r"(Resource)?(Sparse)?Apply\w+|Assign\w*|(Resource)?Scatter(Nd)?(Update|Add|Sub|Mul|Div|Min|Max)|CountUpTo"
    r"|\w*Queue\w*|Iterator\w*|\w*Reader\w*|(Eager)?PyFunc\w*|Barrier\w*|Stage|Unstage|Print\w*"
    r"|TensorArray(V\d)?|Stack(V\d)?"
)
"""What has to do with more than values: assigns, queues, Python functions, an array under way."""

# What training and evaluating are made of

CompareKind = Literal["softmax", "sigmoid", "hits", "chances", "hinge", "difference"]
"""How a loss compares: a cross entropy of classes or of each output by itself, the best class, probabilities of labels,
which side of a margin an output is on, or numbers."""
COMPARISONS: dict[str, CompareKind] = {
    "SparseSoftmaxCrossEntropyWithLogits": "softmax",
    "SoftmaxCrossEntropyWithLogits": "softmax",
    "InTopK": "hits",
    "InTopKV2": "hits",
}
"""What reads logits and labels, in this order."""
DIFFERENCES = frozenset({"Sub", "SquaredDifference"})
HITS = frozenset({"InTopK", "InTopKV2"})
REDUCTIONS = CALLS | frozenset(
    {
        *("Mean", "Sum", "AddN", "Add", "AddV2", "Sub", "Mul", "RealDiv", "Div", "DivNoNan", "Neg"),
        *(
            "Identity",
            "Squeeze",
            "Reshape",
            "Select",
            "SelectV2",
            "Merge",
            "StatefulPartitionedCall",
            "PartitionedCall",
        ),
    }
)
"""What could end in a loss or an accuracy."""
NO_RESULT = frozenset({"NoOp", "Assert", "SaveV2", "Save", "MergeV2Checkpoints", "PrintV2", "WriteFile"})
"""What gives nothing, or nothing of a row."""
ASIDE = Family(
    r"(Resource|Sparse)*Apply[A-Z].*|Assign.*|Scatter(Add|Sub|Update)|Save(V2|Slices)?|Restore(V2|Slice)?|.*Summary(V2)?"
    r"|IsVariableInitialized|VarIsInitializedOp|NoOp|Assert|Print|L2Loss"
)
"""What trains, saves, initialises or reports, beside what a network computes."""
