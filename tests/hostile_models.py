"""Models that act when they are run: a graph for each op of a class that does more than compute, plain and nested.

They are made as messages, without TensorFlow, so that every op can be put in every place. Nothing runs them here.
"""

from collections.abc import Callable
from pathlib import Path

from ckpttool import checkpoint
from ckpttool.formats.wire.protos.graph_pb2 import FunctionDef, GraphDef, NodeDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef

FLOAT, STRING = 1, 7
ACTING = {
    "files read": """
        ReadFile MatchingFiles MatchingFilesDataset ImmutableConst FixedLengthRecordDatasetV2 TextLineDataset
        TFRecordDataset TFRecordDatasetV2 LMDBDataset WholeFileReaderV2 TextLineReaderV2 TFRecordReaderV2
        FixedLengthRecordReaderV2 LMDBReader RecordInput CSVDataset CSVDatasetV2 SqlDataset ExperimentalSqlDataset
        InitializeTableFromTextFile InitializeTableFromTextFileV2 GenerateVocabRemapping LoadAndRemapMatrix
        Restore RestoreSlice RestoreV2 DTensorRestoreV2 LoadDataset SnapshotDatasetReader ListSnapshotChunksDataset
        SnapshotChunkDataset DecodeProtoV2 EncodeProto""",
    "files written": """
        WriteFile Save SaveSlices SaveV2 MergeV2Checkpoints SaveDataset SaveDatasetV2 DistributedSave DatasetToTFRecord
        ExperimentalDatasetToTFRecord CacheDataset CacheDatasetV2 SnapshotDataset SnapshotDatasetV2 DumpTensor
        CalibrationStatisticsSaver DebugIdentity DebugIdentityV2 DebugIdentityV3 DebugNanCount DebugNumericSummary
        DebugNumericSummaryV2 CreateSummaryFileWriter CreateSummaryDbWriter WriteSummary WriteScalarSummary
        WriteHistogramSummary WriteImageSummary WriteAudioSummary WriteGraphSummary WriteRawProtoSummary""",
    "network": """
        RpcClient RpcServer RpcServerStart RpcServerRegister RpcCall DataServiceDataset DataServiceDatasetV2
        DataServiceDatasetV3 DataServiceDatasetV4 RegisterDataset RegisterDatasetV2 RemoteCall Send Recv _Send _Recv
        _HostSend _HostRecv CollectiveReduceV2 CollectiveBcastSendV2 NcclAllReduce FileSystemSetConfiguration""",
    "the process": "Abort",
    "code": """
        PyFunc PyFuncStateless EagerPyFunc DatasetFromGraph XlaCallModule MlirPassthroughOp TPUCompile TPUExecute
        XlaLaunch""",
    "unknown": "SomebodysOwnOp BigtableLookup Addons>Something",
    "waiting": "QueueDequeueV2 FIFOQueueV2 IteratorGetNext BarrierTakeMany MapUnstage Print",
}
"""Ops by their effect: the classes of those that an untrusted graph must not run."""
TYPES = [(kind, op) for kind, ops in ACTING.items() for op in ops.split()]


def constant(name: str, *texts: bytes) -> NodeDef:
    node = NodeDef(name=name, op="Const")
    node.attr["dtype"].type = STRING
    node.attr["value"].tensor.dtype = STRING
    node.attr["value"].tensor.string_val.extend(texts)
    return node


def acting(op: str, name: str = "act") -> list[NodeDef]:
    """An op of a type, and constants for its inputs: paths first and second."""
    return [
        constant("path", b"/tmp/canary"),
        constant("other", b"/tmp/canary2"),
        NodeDef(name=name, op=op, input=["path", "other"]),
    ]


def function(name: str, *nodes: NodeDef) -> FunctionDef:
    made = FunctionDef(node_def=nodes)
    made.signature.name = name
    return made


def graph(*nodes: NodeDef, functions: tuple[FunctionDef, ...] = ()) -> MetaGraphDef:
    """A graph with an output that depends on the last of the nodes."""
    meta = MetaGraphDef()
    end = NodeDef(name="output", op="Identity", input=["X", f"^{nodes[-1].name}"])
    end.attr["T"].type = FLOAT
    meta.graph_def.node.extend([NodeDef(name="X", op="Placeholder"), *nodes, end])
    meta.graph_def.library.function.extend(functions)
    return meta


def calling(call: str, **functions: str) -> NodeDef:
    node = NodeDef(name="call", op=call)
    for key, name in functions.items():
        node.attr[key].func.name = name
    return node


def in_function(op: str, call: str, *keys: str) -> MetaGraphDef:
    return graph(calling(call, **dict.fromkeys(keys, "body")), functions=(function("body", *acting(op)),))


def in_a_case(op: str) -> MetaGraphDef:
    call = NodeDef(name="call", op="Case")
    call.attr["branches"].list.func.add(name="harmless")
    call.attr["branches"].list.func.add(name="body")
    return graph(call, functions=(function("harmless", NodeDef(name="x", op="NoOp")), function("body", *acting(op))))


def deep(op: str) -> MetaGraphDef:
    """In three nested calls."""
    middle = function("middle", calling("StatefulPartitionedCall", f="body"))
    outer = function("outer", NodeDef(name="call", op="middle"))
    return graph(calling("PartitionedCall", f="outer"), functions=(outer, middle, function("body", *acting(op))))


def in_a_constant(op: str) -> MetaGraphDef:
    hidden = GraphDef(node=acting(op))
    return graph(constant("hidden", hidden.SerializeToString()), NodeDef(name="use", op="Identity", input=["hidden"]))


def in_a_constant_of_a_constant(op: str) -> MetaGraphDef:
    inner = GraphDef(node=[constant("inner", GraphDef(node=acting(op)).SerializeToString())])
    return graph(constant("hidden", inner.SerializeToString()))


def as_bytes(op: str) -> MetaGraphDef:
    node = NodeDef(name="hidden", op="Const")
    node.attr["value"].tensor.dtype = 4
    node.attr["value"].tensor.tensor_content = GraphDef(node=acting(op)).SerializeToString()
    return graph(node)


def in_update_ops(op: str) -> MetaGraphDef:
    meta = graph(NodeDef(name="free", op="NoOp"))
    meta.graph_def.node.extend(acting(op))
    meta.collection_def["update_ops"].node_list.value.append("act")
    return meta


def in_an_initialiser(op: str) -> MetaGraphDef:
    meta = graph(NodeDef(name="kernel", op="VarHandleOp"))
    nodes = acting(op, "kernel/Initializer")
    assign = NodeDef(name="kernel/Assign", op="AssignVariableOp", input=["kernel", "kernel/Initializer"])
    meta.graph_def.node.extend([*nodes, assign])
    return meta


NESTED: dict[str, Callable[[str], MetaGraphDef]] = {
    "plain": lambda op: graph(*acting(op)),
    "PartitionedCall": lambda op: in_function(op, "PartitionedCall", "f"),
    "StatefulPartitionedCall": lambda op: in_function(op, "StatefulPartitionedCall", "f"),
    "If": lambda op: in_function(op, "If", "then_branch", "else_branch"),
    "While": lambda op: in_function(op, "While", "cond", "body"),
    "MapDefun": lambda op: in_function(op, "MapDefun", "f"),
    "MapDataset": lambda op: in_function(op, "MapDataset", "f"),
    "SymbolicGradient": lambda op: in_function(op, "SymbolicGradient", "f"),
    "Case": in_a_case,
    "three calls deep": deep,
    "constant": in_a_constant,
    "constant of a constant": in_a_constant_of_a_constant,
    "bytes": as_bytes,
    "update_ops": in_update_ops,
    "initialiser": in_an_initialiser,
}
"""By place, functions that make a graph with an op of the given type there."""


def write(meta: MetaGraphDef, path: Path) -> Path:
    path.write_bytes(meta.SerializeToString())
    return path


def write_in_a_variable(op: str, prefix: Path) -> Path:
    """A checkpoint, one of whose variables is a string with a graph."""
    import numpy as np

    text = GraphDef(node=acting(op)).SerializeToString()
    checkpoint.save({"kernel": np.ones(3, np.float32), "vocabulary": np.array([b"a", text], object)}, prefix)
    return prefix
