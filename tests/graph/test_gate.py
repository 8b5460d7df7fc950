"""The gate before graphs are run: which ops only compute, by TensorFlow's registry, and which are rejected."""

import re
from pathlib import Path

import pytest

from ckpttool.core.errors import GraphError
from ckpttool.formats.wire.protos.graph_pb2 import FunctionDef, NodeDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph.computing_ops import COMPUTING, EVALUATED_AT_IMPORT, FILE_ATTRIBUTES, STATEFUL, STATELESS
from ckpttool.graph.core import Graph
from ckpttool.graph.gate import require_computing, require_inert
from ckpttool.graph.ops import RESOURCE_UPDATES, UPDATES
from ckpttool.graph.rewrite.prune import subgraph

PACKAGE = Path(__file__).parents[2] / "ckpttool"


def graph_of(*nodes: NodeDef, functions: tuple[FunctionDef, ...] = ()) -> Graph:
    meta = MetaGraphDef()
    meta.graph_def.node.extend(nodes)
    meta.graph_def.library.function.extend(functions)
    return Graph(meta, "model.meta")


def function(name: str, *nodes: NodeDef) -> FunctionDef:
    made = FunctionDef(node_def=nodes)
    made.signature.name = name
    return made


def calling(name: str, op: str, **functions: str) -> NodeDef:
    node = NodeDef(name=name, op=op)
    for key, function_name in functions.items():
        node.attr[key].func.name = function_name
    return node


WRITES = function("writes", NodeDef(name="write", op="WriteFile"))


def test_an_op_is_refused_by_name_with_what_allows_it():
    graph = graph_of(NodeDef(name="x", op="Placeholder"), NodeDef(name="note", op="WriteFile", input=["x"]))
    message = r"^model.meta: note \(WriteFile\) can have side effects.*`allow_op` WriteFile"
    with pytest.raises(GraphError, match=message):
        require_computing(graph)
    require_computing(graph.allowing({"WriteFile"}))


def test_what_is_allowed_goes_along_with_every_rewrite():
    graph = graph_of(NodeDef(name="x", op="Const"), NodeDef(name="note", op="WriteFile")).allowing(["WriteFile"])
    require_computing(subgraph(graph, ["note"]))
    assert graph.allowing(["PyFunc"]).allowed == {"WriteFile", "PyFunc"}
    assert graph.allowing([]) is graph


@pytest.mark.parametrize(
    "call",
    [
        calling("call", "StatefulPartitionedCall", f="writes"),
        calling("call", "If", then_branch="computes", else_branch="writes"),
        calling("call", "While", cond="computes", body="writes"),
        calling("call", "SymbolicGradient", f="writes"),
        calling("call", "MapDefun", f="writes"),
        calling("call", "StatefulPartitionedCall", f="outer"),
        NodeDef(name="call", op="writes"),
        NodeDef(name="call", op="outer"),
        calling("call", "PartitionedCall", f="differentiable"),
    ],
    ids=lambda node: node.op,
)
def test_functions_that_are_called_are_looked_into(call):
    """Also gradient functions, and lists of branches; but not uncalled functions."""
    outer = function("outer", calling("inner", "PartitionedCall", f="writes"))
    others = (function("computes", NodeDef(name="add", op="Add")), function("differentiable"))
    graph = graph_of(call, NodeDef(name="free", op="NoOp"), functions=(WRITES, outer, *others))
    graph.meta.graph_def.library.gradient.add(function_name="differentiable", gradient_func="writes")
    with pytest.raises(GraphError, match=r"write \(WriteFile\) in the function writes"):
        require_computing(subgraph(graph, ["call"]))
    require_computing(subgraph(graph, ["free"]))


def test_the_branches_of_a_case_are_looked_into():
    case = NodeDef(name="call", op="Case")
    case.attr["branches"].list.func.add(name="writes")
    with pytest.raises(GraphError, match="in the function writes"):
        require_computing(subgraph(graph_of(case, functions=(WRITES,)), ["call"]))


def test_an_attribute_may_name_a_file():
    drawn = NodeDef(name="drawn", op="FixedUnigramCandidateSampler")
    require_computing(graph_of(drawn))
    drawn.attr["vocab_file"].s = b"/etc/passwd"
    with pytest.raises(GraphError, match="FixedUnigramCandidateSampler"):
        require_computing(graph_of(drawn))


def test_a_file_may_be_named_by_who_calls_the_function():
    drawn = NodeDef(name="drawn", op="FixedUnigramCandidateSampler")
    drawn.attr["vocab_file"].placeholder = "path"
    body = calling("call", "StatefulPartitionedCall", f="draw")
    body.attr["f"].func.attr["path"].s = b"/etc/passwd"
    loop = calling("loop", "While", cond="body", body="body")
    graph = graph_of(loop, functions=(function("draw", drawn), function("body", body)))
    with pytest.raises(GraphError, match=r"drawn \(FixedUnigramCandidateSampler\) in the function draw"):
        require_computing(graph)


def test_a_graph_that_is_only_imported_may_hold_what_the_import_does_not_run():
    require_inert(graph_of(NodeDef(name="save", op="SaveV2"), NodeDef(name="write", op="WriteFile")))
    with pytest.raises(GraphError, match="`allow_op` ReadFile"):
        require_inert(graph_of(NodeDef(name="read", op="ReadFile")))


def test_unknown_ops_are_refused():
    with pytest.raises(GraphError, match="OfSomePlugin"):
        require_computing(graph_of(NodeDef(name="x", op="OfSomePlugin")))


def test_what_changes_variables_computes():
    """Except ops that TensorFlow 2.21 does not have, or only for resources."""
    known = registry()
    assert not {name for name in (*UPDATES, *RESOURCE_UPDATES) if name in known} - COMPUTING


def registry():
    from tensorflow.core.framework.op_def_pb2 import OpList
    from tensorflow.python.client.pywrap_tf_session import TF_GetAllOpList, TF_GetBuffer

    return {op.name: op for op in OpList.FromString(TF_GetBuffer(TF_GetAllOpList())).op}


def test_tensorflow_knows_every_op_and_which_have_state():
    known = registry()
    stateless, stateful = (set().union(*groups.values()) for groups in (STATELESS, STATEFUL))
    assert not (stateless | stateful | EVALUATED_AT_IMPORT) - known.keys()
    assert not [name for name in stateless | EVALUATED_AT_IMPORT if known[name].is_stateful]
    assert not [name for name in stateful if not known[name].is_stateful]
    assert not EVALUATED_AT_IMPORT & COMPUTING


def test_no_op_that_computes_takes_the_name_of_a_file():
    words = re.compile(r"file|path|url|address|director(y|ies)|prefix|token|descriptor|memory_region", re.IGNORECASE)
    harmless = {"CTCBeamSearchDecoder": {"top_paths"}}
    named = {
        (name, field.name)
        for name, op in registry().items()
        if name in COMPUTING
        for field in (*op.attr, *op.input_arg)
        if words.search(field.name) and field.name not in harmless.get(name, ())
    }
    assert named == set(FILE_ATTRIBUTES.items())


def test_ops_without_state_that_act_are_known():
    """Ops that TensorFlow may evaluate during an import only compute, or are listed, or have no such kernel.

    Data sets are variants, on which no shape depends; the rest needs missing devices, or is one of TensorFlow's own
    test ops.
    """
    kinds = re.compile(
        r".*Dataset.*|Xla.*|.*T[Pp][Uu].*|Risc.*|DTensor.*|Queue.*|Reader.*|Barrier.*|.*Accumulator.*|BoostedTrees.*|_.*"
        r"|.*SparseCore.*|Infeed.*|Prelinearize.*|.*DedupData|Relayout.*|CopyToMesh.*|Sdca.*|Composite.*|Uncompress.*"
        r"|Compress.*|Batch|Unbatch(Grad)?|Snapshot|GetOptions|GetElementAtIndex|ComputeBatchSize"
        r"|AudioMicrofrontend|ApproxTopK|StochasticCastToInt|GetDeadline|CheckPinned|ConstructionFails|DebugGradient.*"
    )
    tests = re.compile(
        r"A|B|Attr.*|N(Int|Poly|In).*|Two.*|.*Test.*|(Int|Float)(In|Out|Attr).*|Int64Output|FiveFloat.*|Foo\d|Ref(In|Out).*"
        r"|.*Polymorphic.*|TypeList.*|OutT.*|OpWith.*|Reserved.*|List(In|Out)put|Kernel.*|Func(List)?Attr|.*Struct|Simple"
        r"|Unary|Binary|Restrict|Old|None|CopyOp|DefaultAttrs|Fact|StringListAttr|MlirPassthroughOp|WindowOp"
    )
    stateless = {name for name, op in registry().items() if not op.is_stateful}
    unknown = stateless - COMPUTING - EVALUATED_AT_IMPORT
    assert sorted(name for name in unknown if not kinds.fullmatch(name) and not tests.fullmatch(name)) == []


def test_every_import_of_a_graph_is_behind_the_gate():
    """New code that imports a graph elsewhere, or loads models in other ways, must be added here."""
    imports = re.compile(r"\.import_graph_def\(|\.import_meta_graph\(|saved_model\.load\(|wrap_function\(|load_model\(")
    gates = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        code = path.read_text(encoding="utf-8")
        if imports.search(code):
            gates[path.relative_to(PACKAGE).as_posix()] = re.findall(r"^    +(require_\w+)\(", code, re.MULTILINE)
    assert gates == {
        "runtime/whole_graphs.py": ["require_registered", "require_inert"],
        "runtime/building.py": ["require_registered", "require_inert"],
        "runtime/keras/values.py": [],  # its own placeholders, which stand for weights
        "runtime/state.py": ["require_registered", "require_computing"],
        "runtime/function.py": ["require_registered", "require_computing"] * 2,
    }
