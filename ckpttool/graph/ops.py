"""Traits of op types: sets of ops with a common property, used by all modules.

    if node.op in PLACEHOLDERS: ...

A trait is a set of names, a `Family` if the names follow a rule, or a dict if the trait has a value. The ops without
side effects, which may run, are listed in `computing_ops`.
From tensorflow/core/ops/*.cc.
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
        """Define the family by a regular expression for whole op types; results are cached by type."""
        self._rule = re.compile(rule)
        self._known: dict[object, bool] = {}

    def __contains__(self, op: object) -> bool:
        if op not in self._known:
            self._known[op] = isinstance(op, str) and self._rule.fullmatch(op) is not None
        return self._known[op]


# Variables

REFERENCE_VARIABLES = frozenset({"Variable", "VariableV2"})
"""TensorFlow 1's variables, whose output is a reference to their buffer."""
VARIABLES = REFERENCE_VARIABLES | {"VarHandleOp", "AutoReloadVariable"}
READS = frozenset({"Identity", "ReadVariableOp"})
"""Ops that return a variable's value unchanged."""
LOOKS = READS | {"DisableCopyOnRead", "VarIsInitializedOp", "IsVariableInitialized"}
"""Ops that read or query a variable without computing with it."""
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
"""The number of slots that an optimizer's op changes, which follow the variable among its inputs."""
POWERS = {"Adam": 2, "AdamWithAmsgrad": 2, "AdaMax": 1}
"""The number of powers of betas that follow the slots among the inputs; they are slots too, changed by another op."""


class Update(NamedTuple):
    """An op on references: its resource form, its number of leading reference inputs, and the changed attributes."""

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
"""The ops that change reference variables in place, by type."""
RESOURCE_UPDATES = {update.resource: update for update in UPDATES.values()}
"""The ops that change resource variables in place, by type."""

TABLE_FILLERS = frozenset(
    {
        *("InitializeTable", "InitializeTableV2", "InitializeTableFromTextFile", "InitializeTableFromTextFileV2"),
        *("LookupTableImport", "LookupTableImportV2"),
    }
)
"""Ops that set a table's whole contents."""
CHANGES = (
    UPDATES.keys()
    | RESOURCE_UPDATES.keys()
    | TABLE_FILLERS
    | {
        *("LookupTableInsert", "LookupTableInsertV2", "LookupTableRemoveV2", "RngSkip", "RngReadAndSkip"),
        *("ResourceApplyKerasMomentum", "DestroyResourceOp", "DestroyTemporaryVariable", "Assert"),
    }
)
"""Ops that change a variable, a table or a random generator, or abort a run: removing one changes the results."""

# Savers

SAVES = {"SaveV2": 3, "SaveSlices": 3, "Save": 2}
"""The ops that write tensors, with the number of inputs before these: file, names and (except for `Save`) slices."""
RESTORES = frozenset({"Restore", "RestoreSlice", "RestoreV2"})
"""The ops that read tensors of a checkpoint, with one output per name."""
SLICED_SAVERS = frozenset({"SaveV2", "SaveSlices", "RestoreV2", "RestoreSlice"})
"""Saver ops with an input for slices."""
SAVER_DTYPES = {"SaveV2": "dtypes", "SaveSlices": "T", "Save": "T", "RestoreV2": "dtypes"}
"""The attribute of saver ops that lists the dtypes of their tensors."""
COPIES = frozenset({"Identity", "ReadVariableOp", "Cast", "Reshape"})
"""Ops between a variable and a saver that keep the value, apart from dtype and shape."""

# Inputs and control flow

PLACEHOLDERS = frozenset({"Placeholder", "PlaceholderV2", "PlaceholderWithDefault"})
REQUIRED_PLACEHOLDERS = PLACEHOLDERS - {"PlaceholderWithDefault"}
STREAMS = Family(
    r"(MultiDevice)?IteratorGetNext\w*|DatasetToSingleElement|Queue\w*Dequeue\w*|BarrierTakeMany"
    r"|Reader(Read|ReadUpTo)(V2)?|RecordInput|Unstage|InfeedDequeue(Tuple)?"
)
"""Ops through which an input pipeline supplies rows to a graph."""
TEXT_PARSERS = Family(r"Parse(Single)?(Sequence)?Example(V2)?|ParseTensor|Decode\w+|StringToNumber|Substr")
"""Ops that parse strings: serialised records, images, lines."""
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
"""Control flow ops on references, with their counterparts on values and handles."""
FLOW = frozenset(REFERENCE_FLOW.values())

# What passes values on

FORMS = frozenset({"Identity", "StopGradient", "Reshape", "Squeeze", "ExpandDims"})
"""Ops that keep the values, possibly in another shape."""
PICKS = FORMS | {"Transpose", "MaxPool", "Switch", "Merge"}
"""Ops that only select, move or merge values, and so keep the property of being an activation's output."""
WEIGHT_PASSES = READS | ENTERS | SWITCHES | {"RefIdentity", "Cast", "StopGradient"}
"""Ops between a weight and the op that computes with it."""
JOINS = frozenset({"Concat", "ConcatV2"})
SHAPES = frozenset({"Shape", "ShapeN", "Size", "Rank", "VariableShape"})
"""Ops that depend on the shape of a tensor but not on its values."""
SHAPED_LIKE = SHAPES | {"ZerosLike", "OnesLike"}

# What computes

ACTIVATIONS = frozenset(
    {"Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Sigmoid", "Tanh", "Softplus", "Softsign", "Softmax"}
)
PROBABILITIES = frozenset({"Softmax", "Sigmoid", "Softplus"})
"""Activations that are applied to logits rather than between layers."""
CONVOLUTIONS = frozenset({"Conv2D", "Conv3D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "Conv3DBackpropInputV2"})
SAME_SHAPE = frozenset(
    {"Identity", "ReadVariableOp", "StopGradient", "Cast", "PlaceholderWithDefault", "CheckNumerics"}
)
"""Ops that return their first input, possibly with another dtype."""
ELEMENTWISE = SAME_SHAPE | {
    *("Relu", "Relu6", "Elu", "Selu", "LeakyRelu", "Tanh", "Sigmoid", "Softplus", "Softsign", "Softmax", "LogSoftmax"),
    *("Square", "Sqrt", "Rsqrt", "Exp", "Log", "Neg", "Abs", "Sign", "Floor", "LRN", "MaxPool", "AvgPool"),
    *("ZerosLike", "OnesLike", "Pow", "Reciprocal"),
}
"""Ops whose output has the first input's shape in the dimensions that depend on weights."""
BROADCASTING = frozenset(
    {
        *("Add", "AddV2", "Sub", "Mul", "RealDiv", "Div", "DivNoNan", "Maximum", "Minimum", "SquaredDifference"),
        *("Greater", "GreaterEqual", "Less", "LessEqual", "Equal", "LogicalAnd"),
    }
)
"""Binary ops that compute element by element."""
ADDS = frozenset({"Add", "AddV2", "AddN", "Sub", "Neg"})
"""Ops that add signed terms."""
SCALES = frozenset({"Mul", "RealDiv", "Div"})
"""Ops that multiply or divide."""
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
"""Nonlinear ops, of which activations consist."""
ELEMENT_BY_ELEMENT = (
    (ELEMENTWISE | BROADCASTING | SELECTS | NONLINEAR | {"IdentityN", "Log1p", "Softplus"})
    - PLACEHOLDERS
    - {"LRN", "MaxPool", "AvgPool", "ZerosLike", "OnesLike"}
)
"""Ops that compute each element of the output from the same elements of the inputs."""
MOMENTS = frozenset({"Mean", "Sum", "Squeeze", "Reshape"})
"""Ops that compute the mean and variance of a row, besides those in `ELEMENT_BY_ELEMENT`."""
UNDOES = {"Squeeze": "ExpandDims", "Reshape": "Reshape", "Transpose": "Transpose", "BatchToSpaceND": "SpaceToBatchND"}
"""Ops by the op whose change of shape they undo."""
LOOP_RESULTS = FORMS | frozenset(
    {
        *("TensorListStack", "TensorListGetItem", "TensorListConcatV2", "TensorArrayGatherV3", "TensorArrayReadV3"),
        *("Transpose", "StridedSlice", "Slice", "ReverseV2", "ReverseSequence", "Cast"),
    }
)
"""Ops that select and order the results of a loop."""

RANDOM = Family(
    r"(Stateless)?(Parameterized)?(Random|TruncatedNormal|Multinomial)\w*"
    r"|Stateful(Uniform|StandardNormal|TruncatedNormal|Random)\w*|RngReadAndSkip|\w*CandidateSampler|Fractional\w+Pool"
)
"""Ops that draw random numbers."""
STATEFUL = Family(
    r"(Resource)?(Sparse)?Apply\w+|Assign\w*|(Resource)?Scatter(Nd)?(Update|Add|Sub|Mul|Div|Min|Max)|CountUpTo"
    r"|\w*Queue\w*|Iterator\w*|\w*Reader\w*|(Eager)?PyFunc\w*|Barrier\w*|Stage|Unstage|Print\w*"
    r"|TensorArray(V\d)?|Stack(V\d)?"
)
"""Ops with state: assigns, queues, Python functions, unfinished tensor arrays."""

# What training and evaluating are made of

CompareKind = Literal["softmax", "sigmoid", "hits", "chances", "hinge", "difference"]
"""How a loss compares outputs with labels: cross entropy over classes (`softmax`) or of each output (`sigmoid`), the
best class (`hits`), the probabilities of labels (`chances`), a margin (`hinge`), or numbers (`difference`)."""
COMPARISONS: dict[str, CompareKind] = {
    "SparseSoftmaxCrossEntropyWithLogits": "softmax",
    "SoftmaxCrossEntropyWithLogits": "softmax",
    "InTopK": "hits",
    "InTopKV2": "hits",
}
"""Ops that read logits and labels, in this order."""
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
"""Ops that can follow a comparison up to a loss or an accuracy."""
NO_RESULT = frozenset({"NoOp", "Assert", "SaveV2", "Save", "MergeV2Checkpoints", "PrintV2", "WriteFile"})
"""Ops without an output, or whose output does not depend on a row."""
ASIDE = Family(
    r"(Resource|Sparse)*Apply[A-Z].*|Assign.*|Scatter(Add|Sub|Update)|Save(V2|Slices)?|Restore(V2|Slice)?|.*Summary(V2)?"
    r"|IsVariableInitialized|VarIsInitializedOp|NoOp|Assert|Print|L2Loss"
)
"""Ops that train, save, initialise or report, and are not part of a network's computation."""
