"""The side effects of ops by type: the reason that a scan reports for each op that the gate refuses."""

import re
from typing import NamedTuple

from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.scanning.finding import Severity


class Effect(NamedTuple):
    """A kind of finding, its severity, and a description of the effect that continues a sentence begun with the op."""

    kind: str
    severity: Severity
    reason: str


_CODE = Effect("graph/runs-code", "high", "runs code that is in a value, in a token or in a plug-in, not in the graph")
_WRITES = Effect("graph/writes-files", "high", "writes files")
_REMOVES = Effect("graph/writes-files", "high", "writes files, and removes the folders of those that it joins")
_READS = Effect("graph/reads-files", "medium", "reads files of the machine that it runs on")
_NETWORK = Effect("graph/network", "high", "sends data to other processes or machines, or receives it from them")
_ENDS = Effect("graph/ends-process", "high", "ends the process that runs it")
_PRINTS = Effect("graph/prints", "low", "prints its inputs")
_WAITS = Effect("graph/waits", "low", "belongs to a data pipeline: it waits for others, and may wait forever")
_UNKNOWN = Effect(
    "graph/unknown-op",
    "medium",
    "is not among the ops known to only compute; if it is a plug-in's, it runs the plug-in's code",
)
_BY_TYPE: tuple[tuple[re.Pattern[str], Effect], ...] = tuple(
    (re.compile(pattern), effect)
    for pattern, effect in (
        (r"Abort", _ENDS),
        (r"(Eager)?PyFunc(Stateless)?|DatasetFromGraph|MlirPassthroughOp|_?Xla(CallModule|CustomCall(V2)?)", _CODE),
        (
            r"_?Xla(Launch(V2)?|Compile|Run|AotOnly.*|.*Mlir.*)|_?TPU(Compile|Execute|Replicate|PartitionedCall).*",
            _CODE,
        ),
        (r"(DeserializeIterator|IteratorFromStringHandle(V2)?|GetSessionTensor)", _CODE),
        (r"MergeV2Checkpoints", _REMOVES),
        (
            r"WriteFile|Save(V2|Slices)?|Save(Dataset|DatasetV2)|DistributedSave|(Experimental)?DatasetToTFRecord",
            _WRITES,
        ),
        (r"(Cache|Snapshot)Dataset(V2)?|DumpTensor|CalibrationStatisticsSaver|CustomAggregator", _WRITES),
        (r"Debug(Identity(V[23])?|NanCount|NumericSummary(V2)?)", _WRITES),
        (r"CreateSummary(File|Db)Writer|SummaryWriter|Write\w*Summary|ImportEvent|(Flush|Close)SummaryWriter", _WRITES),
        (r"StatsAggregatorSetSummaryWriter|StoreMinibatchStatisticsInFdo", _WRITES),
        (r"Rpc\w+|DataServiceDataset(V[234])?|RegisterDataset(V2)?|RemoteCall|_?(Host)?(Send|Recv)", _NETWORK),
        (r"_?(Collective|Nccl)\w+|_?Xla(Send|Recv)\w*|FileSystemSetConfiguration|WorkerHeartbeat", _NETWORK),
        (r"_?\w*(DistributedTPU|GlobalTPU|TPUEmbedding)\w*|(In|Out)feed\w+|DTensor(?!RestoreV2)\w+", _NETWORK),
        (r"ReadFile|MatchingFiles|ImmutableConst|RecordInput|(DTensor)?Restore(V2|Slice)?|LoadAndRemapMatrix", _READS),
        (r"InitializeTableFromTextFile(V2)?|GenerateVocabRemapping|DecodeProtoV2|EncodeProto", _READS),
        (r"FixedUnigramCandidateSampler|Skipgram", _READS),
        (r"(Experimental)?(MatchingFiles|FixedLengthRecord|TextLine|TFRecord|LMDB|CSV|Sql)Dataset(V2)?", _READS),
        (r"(LoadDataset|ListSnapshotChunksDataset|SnapshotChunkDataset|Snapshot(Nested)?DatasetReader)", _READS),
        (r"(WholeFile|TextLine|FixedLengthRecord|TFRecord|LMDB)Reader(V2)?", _READS),
        (r"Print(V2)?", _PRINTS),
        (
            r"\w*(Dataset|Iterator|Queue|Barrier|Accumulator|Stage)\w*|Reader\w+|IdentityReader(V2)?|(Ordered)?Map\w+",
            _WAITS,
        ),
        (r"(Un)?[Bb]atch(Grad|Function)?|Sleep\w*Op|Mutex\w+|ConsumeMutexLock|ThreadPoolHandle", _WAITS),
    )
)
"""The first pattern that matches the whole op type applies."""


def effect_of(node: NodeDef) -> Effect:
    """Return the effect of an op that can have side effects."""
    if node.op == "PrintV2" and "output_stream" in node.attr and node.attr["output_stream"].s.startswith(b"file:"):
        return _WRITES
    if node.op in ("CacheDataset", "CacheDatasetV2") and not node.input[1:]:
        return _WAITS
    return next((effect for pattern, effect in _BY_TYPE if pattern.fullmatch(node.op)), _UNKNOWN)
