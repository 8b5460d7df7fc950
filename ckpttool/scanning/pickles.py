"""Pickles: the globals that unpickling would import, read from the opcodes; harmless ones are on an allowlist."""

import pickletools
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.formats.pytorch import makers
from ckpttool.scanning.finding import Finding

_OF_INDEXES = "torch.distributed.checkpoint.metadata"
DISTRIBUTED = {
    *(f"{_OF_INDEXES}.{name}" for name in ("Metadata", "MetadataIndex", "StorageMeta", "ChunkStorageMetadata")),
    *(f"{_OF_INDEXES}.{name}" for name in ("TensorStorageMetadata", "BytesStorageMetadata", "TensorProperties")),
    *(f"{_OF_INDEXES}._MEM_FORMAT_ENCODING", "torch.distributed.checkpoint.filesystem._StorageInfo"),
    *("torch.distributed._shard.sharded_tensor.metadata.TensorProperties", "pathlib.PosixPath", "pathlib.WindowsPath"),
    "torch.distributed._shard.sharded_tensor.metadata.MEM_FORMAT_ENCODING",
}
"""Classes in the index of torch.distributed.checkpoint: records, enumerations, paths."""
HARMLESS = frozenset(
    {
        *DISTRIBUTED,
        *makers.MAKERS,
        *makers.STORAGES,
        *makers.RAW_STORAGES,
        *makers.QUANTISED_STORAGES,
        *makers.DTYPES,
        *makers.UNREAD,
        *("numpy.ndarray", "numpy.matrix", "builtins.list", "builtins.tuple", "builtins.int", "builtins.float"),
        *(
            "builtins.complex",
            "builtins.bool",
            "builtins.str",
            "builtins.bytearray",
            "builtins.slice",
            "builtins.range",
        ),
        *("builtins.object", "datetime.datetime", "datetime.date", "datetime.timedelta", "collections.deque"),
        *("torch.device", "torch.Tensor", "torch.nn.parameter.Parameter", "torch.strided", "torch.dtype"),
        *(
            f"torch.{scheme}"
            for scheme in ("per_tensor_affine", "per_channel_affine", "sparse_coo", "contiguous_format")
        ),
        *(
            "torch._utils._rebuild_sparse_csr_tensor",
            "torch.serialization._get_layout",
            "torch.storage._load_from_bytes",
        ),
    }
) - {"builtins.getattr", "torch.storage._load_from_bytes"}
"""Callables that create tensors, arrays and plain values, and have no other effect."""
OPCODES = 5_000_000
LONGEST_TEXT, TEXTS_LIMIT, TEXT_OVERHEAD = 1000, 50_000_000, 64
"""The maximum size of a text that may be part of a name, and of all that are kept, with what Python needs for each."""
TEXTS = {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING"}
HELP = "do not unpickle it; `import` reads its weights without that, or ask for a safetensors file"
_MOVED = {"__builtin__": "builtins", "copy_reg": "copyreg", "__main__": "__main__"}
_MARK = object()


def pickle_findings(data: IO[bytes], path: Path, where: str) -> Iterator[Finding]:
    """Yield a finding for each global, not on the allowlist, that a pickle and those directly after it would import.

    Raises:
        CorruptCheckpoint: it is damaged or has too many opcodes; findings from before that point have been yielded.
    """
    seen: set[str] = set()
    try:
        for name in _all_names(data):
            if name not in seen and name not in HARMLESS:
                seen.add(name)
                yield _finding(name, path, where)
    except (ValueError, IndexError, OverflowError, EOFError) as error:
        raise CorruptCheckpoint(f"{path}: {where or 'the pickle'} cannot be read to its end: {error}") from error


def _finding(name: str, path: Path, where: str) -> Finding:
    if not name:
        reason = "it computes the name of what it looks up, which programs that write weights never do"
        return Finding(path, "pickle/computed", where, "(computed)", "high", reason, HELP)
    if makers.ACTING.fullmatch(name) or name in ("builtins.getattr", "builtins.setattr", "builtins.globals"):
        reason = f"it refers to {name}, which acts when the file is unpickled"
        return Finding(path, "pickle/acts", where, name, "high", reason, HELP)
    reason = f"it refers to {name}, whose code is run when the file is unpickled"
    return Finding(path, "pickle/class", where, name, "medium", reason, HELP)


def _all_names(data: IO[bytes]) -> Iterator[str]:
    """Yield the globals of a pickle and of those that directly follow it."""
    while True:
        yield from _names(data)
        start = data.read(2)
        if start[:1] != b"\x80" or not 2 <= start[1] <= 5:
            return
        data.seek(-2, 1)


def _names(data: IO[bytes]) -> Iterator[str]:
    """Yield the dotted name of each global that one pickle imports; an empty string if the name is computed."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    room = TEXTS_LIMIT
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if count > OPCODES:
            raise ValueError(f"it has more than {OPCODES} opcodes")
        name = opcode.name
        if name in ("GLOBAL", "INST"):
            yield _dotted(*str(argument).split(" ", 1))
        elif name == "STACK_GLOBAL":
            module, attribute = stack[-2:] if len(stack) > 1 else (None, None)
            yield _dotted(module, attribute) if isinstance(module, str) and isinstance(attribute, str) else ""
        elif name.startswith("EXT"):
            yield ""
        if name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[int(str(argument))] = stack[-1] if stack else None
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1] if stack else None
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo.get(int(str(argument))))
        else:
            text = argument if name in TEXTS and len(str(argument)) <= LONGEST_TEXT and room > 0 else None
            room -= TEXT_OVERHEAD + len(text) if text else 0
            _move(stack, opcode, text)


def _move(stack: list[Any], opcode: pickletools.OpcodeInfo, text: Any) -> None:
    """Apply an opcode's effect to the simulated stack: pop its inputs, push a string or None for unknown values."""
    if opcode.name in ("MARK", "POP", "DUP"):
        if opcode.name == "MARK":
            stack.append(_MARK)
        elif opcode.name == "POP" and stack:
            stack.pop()
        elif stack:
            stack.append(stack[-1])
        return
    before = list(opcode.stack_before)
    if pickletools.stackslice in before or pickletools.markobject in before:
        while stack and stack.pop() is not _MARK:
            pass
        before = before[: before.index(pickletools.markobject)]
    del stack[len(stack) - min(len(before), len(stack)) :]
    stack.extend(text for _ in opcode.stack_after)


def _dotted(module: str, name: str = "") -> str:
    return f"{_MOVED.get(module, module)}.{name}"
