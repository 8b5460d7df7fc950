"""Crafted files of version 1, shard indexes, studies, caches, reports, options, rules; damage for `salvage`."""

import json
import sqlite3
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kept
import numpy as np
import samples
from crafting import Case, file, refusals

from ckpttool.formats.wire import checked_json
from ckpttool.formats.wire.protos.saved_slices_pb2 import SavedTensorSlices
from ckpttool.formats.wire.table_writer import TableWriter


def version_1() -> Iterator[Case]:
    """Yield version 1 files with false lists of tensors."""

    def case(name: str, fill: Callable[[Any], object], *rows: tuple[bytes, bytes]) -> Case:
        def make(folder: Path) -> Path:
            message = SavedTensorSlices()
            fill(message.meta)
            with (folder / "x.v1").open("wb") as out:
                writer = TableWriter(out)
                for key, value in ((b"", message.SerializeToString()), *rows):
                    writer.add(key, value)
                writer.finish()
            return folder / "x.v1"

        return Case(f"version 1: {name}", make)

    def tensor(shape: list[int], slices: int = 1, kind: int = 1, count: int = 1) -> Callable[[Any], object]:
        def fill(meta: Any) -> None:
            for number in range(count):
                listed = meta.tensor.add(name=f"w{number}", type=kind)
                for size in shape:
                    listed.shape.dim.add(size=size)
                for at in range(slices):
                    listed.slice.add().extent.add(start=at, length=1)

        return fill

    for shape in ([1 << 40], [-1], [1 << 31, 1 << 31], [1] * 255, [1] * 100_000, [0, 1 << 62]):
        yield case(f"a shape of {len(shape)} dimensions, {shape[0]} first", tensor(shape))
    for kind in (0, 7, 20, 21, 101, 9999):
        yield case(f"dtype {kind}", tensor([2], kind=kind))
    for slices in (100, 10_000, 100_000):
        yield case(f"{slices} slices", tensor([slices], slices))
        yield case(f"{slices} slices of nothing", tensor([0], slices))
    for count in (1000, 100_000):
        yield case(f"{count} tensors without data", tensor([2], count=count))
    yield case("min_consumer of the future", lambda meta: setattr(meta.versions, "min_consumer", 99))

    def one_shard(folder: Path) -> Path:
        samples.version_1(folder / "x-00000-of-99999")
        return folder / "x"

    yield Case("version 1: one shard of 99999", one_shard)


def indexes() -> Iterator[Case]:
    """Yield shard indexes that refer to other places, or have too many entries."""
    maps: dict[str, Any] = {
        "a path out": {"w": "../../etc/passwd"},
        "an absolute path": {"w": "/etc/passwd"},
        "itself": {"w": "x.safetensors.index.json"},
        "a number": {"w": 1},
        "a list": {"w": ["a"]},
        "a null byte": {"w": "a\0b"},
        "a name of 1 MB": {"w": "a" * (1 << 20)},
        "100,000 shards": {f"w{n}": f"s{n}.safetensors" for n in range(100_000)},
        "500,000 tensors in one shard": {f"w{n}": "a.safetensors" for n in range(500_000)},
        "a device": {"w": "/dev/zero"},
        "nothing": {},
    }
    for name, entries in maps.items():
        for place in ("x.safetensors.index.json", "pytorch_model.bin.index.json"):
            text = json.dumps({"metadata": {}, "weight_map": entries}).encode()

            def make(folder: Path, place: str = place, text: bytes = text) -> Path:
                samples.safetensors(folder / "a.safetensors")
                (folder / place).write_bytes(text)
                return folder / place

            yield Case(f"index: {name}, {place}", make)


SOUND = "CREATE TABLE question (key TEXT PRIMARY KEY, value TEXT NOT NULL)"
COUNT = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c"
DATABASES = {
    "a view without end": f"CREATE VIEW question AS {COUNT}) SELECT x AS key, x AS value FROM c",
    "a column of a gigabyte": "CREATE TABLE question (key TEXT, value TEXT AS (hex(zeroblob(1000000000))))",
    "other columns": "CREATE TABLE question (a, b, c)",
    "a check of a gigabyte": "CREATE TABLE question (key, value CHECK (length(hex(zeroblob(500000000)))))",
    "a trigger": "CREATE TABLE question (key, value); "
    "CREATE TRIGGER t AFTER DELETE ON question BEGIN DELETE FROM question; END",
    "a virtual table": "CREATE VIRTUAL TABLE question USING fts5(key, value)",
    "200,000 rows": f"{SOUND}; {COUNT} LIMIT 200000) INSERT INTO question SELECT x, '[[[[[[1]]]]]]' FROM c",
    "a key that is none": f"{SOUND}; INSERT INTO question VALUES (x'ff', x'fe')",
    "deep JSON": f"{SOUND}; INSERT INTO question SELECT 'a', replace(hex(zeroblob(100000)), '0', '[')",
}


def studies() -> Iterator[Case]:
    """Yield databases that claim to be studies."""
    rest = [
        *("CREATE TABLE blocks (seed INTEGER, fold INTEGER, rows BLOB, checksum INTEGER, PRIMARY KEY (seed, fold))",),
        *("CREATE TABLE trials (keep, freeze, seed, fold, state, accuracy, seconds, epochs, reason, judged, correct)",),
    ]
    for version in (1, 2, 3, -1):
        for name, statements in DATABASES.items():

            def make(folder: Path, version: int = version, statements: str = statements) -> Path:
                with sqlite3.connect(folder / "x.study") as database:
                    database.executescript(";".join([statements, *rest]))
                    database.execute(f"PRAGMA application_id = {int.from_bytes(b'ckst')}")
                    database.execute(f"PRAGMA user_version = {version}")
                database.close()
                return folder / "x.study"

            yield Case(f"study: {name}, version {version}", make, refusals(kept.RECORDS.read_study))


TENSOR = {"name": "w", "file": "00000.npy", "dtype": "float32", "row_shape": [3], "row_bytes": 12, "crc32c": 0}
MANIFESTS: dict[str, Any] = {
    "rows of 2^60": {"rows": 1 << 60, "tensors": [TENSOR]},
    "rows below zero": {"rows": -1, "tensors": [TENSOR]},
    "rows of text": {"rows": "x", "tensors": [TENSOR]},
    "rows of true": {"rows": True, "tensors": [TENSOR]},
    "a shape of 2^60": {"rows": 2, "tensors": [TENSOR | {"row_shape": [1 << 60, 1 << 60]}]},
    "a shape below zero": {"rows": 2, "tensors": [TENSOR | {"row_shape": [-3]}]},
    "100,000 dimensions": {"rows": 2, "tensors": [TENSOR | {"row_shape": [1] * 100_000}]},
    "no dtype": {"rows": 2, "tensors": [TENSOR | {"dtype": "x"}]},
    "texts": {"rows": 2, "tensors": [TENSOR | {"dtype": "string"}]},
    "a list for a name": {"rows": 2, "tensors": [TENSOR | {"name": ["a"]}]},
    "no tensors": {"rows": 2, "tensors": {}},
    "tensors of null": {"rows": 2, "tensors": None},
    "200,000 tensors": {"rows": 2, "tensors": [TENSOR | {"name": f"w{n}"} for n in range(200_000)]},
    "nothing": {},
}


def caches() -> Iterator[Case]:
    """Yield feature cache entries with false manifests and right checksums, and staged rows likewise."""
    for name, facts in MANIFESTS.items():

        def make(folder: Path, facts: Any = facts) -> Path:
            return Path(kept.RECORDS.entry_of_cache(folder, json.dumps({"format": 1, "key": "k", **facts}).encode()))

        yield Case(f"cache: {name}", make, refusals(kept._features))

        def half(folder: Path, facts: Any = facts) -> Path:
            kept._half_filled(folder)
            progress = {
                "fill": {"format": 1, "key": "k", "parts": {}, "versions": {}, **facts},
                "row": 1 << 60,
                "crc32c": "x",
            }
            (folder / "k" / "progress.json").write_bytes(checked_json.dumps(progress))
            return folder

        yield Case(f"cache: half filled, {name}", half, refusals(kept._goes_on))
    for name, facts in {"other facts": {"x": 1}, "no facts": {}, "notes of a number": {"notes": 1}}.items():

        def staged(folder: Path, facts: Any = facts) -> Path:
            kept._stage(folder)
            sums = __import__("ckpttool.data.staging", fromlist=["x"])._checksums(folder)
            (folder / "facts.json").write_bytes(checked_json.dumps({**facts, "files_crc32c": sums}))
            return folder

        yield Case(f"staged rows: {name}", staged, refusals(kept._staged))


TEXTS: dict[str, Callable[[], bytes]] = {
    "deep lists": lambda: b"a = " + b"[" * 200_000,
    "deep tables": lambda: b"a = " + b"{a=" * 100_000,
    "a key of 100,000 parts": lambda: b"a." * 100_000 + b"b = 1",
    "a table of 100,000 parts": lambda: b"[" + b"a." * 100_000 + b"b]",
    "200,000 keys": lambda: b"".join(b"k%d = 1\n" % n for n in range(200_000)),
    "100,000 tables": lambda: b"".join(b"[t%d]\nx = 1\n" % n for n in range(100_000)),
    "a number of 1 MB": lambda: b"a = " + b"9" * (1 << 20),
    "a text of 8 MB": lambda: b'a = "' + b"x" * (8 << 20) + b'"',
    "a text of 20 MB": lambda: b'a = "' + b"x" * (20 << 20) + b'"',
    "JSON of 200,000 levels": lambda: b'{"a":' * 200_000,
    "lists of JSON": lambda: b'{"options":' + b"[" * 1_000_000,
    "a report of numbers": lambda: b'{"model":1,"data":2,"options":3}',
    "a report of lists": lambda: b'{"model":[],"data":{"path":[],"fingerprint":[1],"held_out":[]},"options":[]}',
    "a report that opens a device": lambda: (
        b'{"model":"/dev/zero","data":{"path":"/dev/zero","fingerprint":{},"held_out":null},"options":{}}'
    ),
    "other bytes": lambda: bytes(range(256)) * 1000,
    "nothing": lambda: b"",
    "endless lines": lambda: b"\n" * 5_000_000,
}
RULES: dict[str, Callable[[], bytes]] = {
    "a nested repeat": lambda: b"(a+)+b => x",
    "a power of 4": lambda: b"a*a*a*a*b => x",
    "a power of 9": lambda: b"a*" * 9 + b"b => x",
    "choices": lambda: b"(a|a)*b => x",
    "repeats counted": lambda: b"(a{1,100}){1,100}b => x",
    "a reference": lambda: b"(a*)*\\1b => x",
    "lookahead": lambda: b"(?=(a+)+$)b => x",
    "a pattern of 1 MB": lambda: b"a" * (1 << 20) + b" => x",
    "10,000 parentheses": lambda: b"(" * 10_000 + b"a" + b")" * 10_000 + b" => x",
    "5000 choices, repeated": lambda: b"(" + b"|".join(b"a%d" % n for n in range(5000)) + b")+ => x",
    "50,000 rules": lambda: b"".join(b"a%d => b%d\n" % (n, n) for n in range(50_000)),
    "a million rules": lambda: b"".join(b"a%d => b%d\n" % (n, n) for n in range(1_000_000)),
    "a repeat of 2^32": lambda: b"a{4294967296} => x",
    "a group that is not there": lambda: b"a => \\9",
    "no arrow": lambda: b"a" * 1_000_000,
    "other bytes": lambda: bytes(range(256)) * 100,
}


def rules_read(path: Path) -> object:
    """Read rules, and apply them to long names."""
    from ckpttool.foreign.rules import moves, read_rules

    return len(moves(["a" * 60, "a" * 5000, "x/" * 2000, *(f"a{n}" for n in range(50))], read_rules(path)))


def scanned(path: Path) -> object:
    """Scan for ops that could act."""
    from ckpttool.verbs.scan import scan

    return len(scan([path]).found)


def texts() -> Iterator[Case]:
    """Yield options, reports and rules."""
    for name, content in TEXTS.items():
        yield Case(f"options: {name}", file("x.toml", content), refusals(kept.RECORDS.read_config))
        report = lambda path: kept.RECORDS.RunReport.parse(path.read_bytes(), path)  # noqa: E731
        yield Case(f"report: {name}", file("x.run.json", content), refusals(report))
        yield Case(f"lineage: {name}", file("x.lineage.json", content), refusals(kept.RECORDS.read_lineage))
        yield Case(f"rules in TOML: {name}", file("x.toml", content), refusals(rules_read))
        yield Case(f"state file, scanned: {name}", file("checkpoint", content), refusals(scanned))
        state = lambda folder, make=content: kept.RECORDS.save_of_a_run(folder, make())  # noqa: E731
        yield Case(f"state of a run: {name}", state, refusals(kept.RECORDS.TARGETS["state of a run"].read))
    for name, content in RULES.items():
        yield Case(f"rules: {name}", file("x.rules", content), refusals(rules_read))


def applied(path: Path) -> object:
    """Apply a plan to a small checkpoint."""
    from ckpttool.verbs.apply import apply

    source = path.with_name("w.npz")
    np.savez(source, w=np.ones((4, 3), np.float32))
    return apply(path, [source], path.with_name("out.npz"))


def plans() -> Iterator[Case]:
    """Yield plans with many steps, loops that match much, and nested tables."""
    edit = b'[[step]]\nscale = "w=1.0"\n'
    for count in (100, 1000, 3000):
        yield Case(f"plan: {count} edits of one tensor", file("x.toml", edit * count), refusals(applied))
    for name, text in {
        "a loop with nested quantifiers": b'[[step]]\nfor = "(.*)*x{i}"\ndrop = "{i}"\n',
        "names that triple": b"[[step]]\nrename = '(.*)=>\\g<1>\\g<1>\\g<1>'\n" * 25,
        "variables of variables": b'[variables]\nx = "{y}"\ny = "{x}"\n[[step]]\ndrop = "{x}"\n',
        "a source elsewhere": b'[[step]]\nlike = "/etc/passwd"\n',
        "a prefix of 3 MB": b'[[step]]\nadd_prefix = "' + b"p" * 3_000_000 + b'"\n',
        "deep tables": b"[a" + b".a" * 20_000 + b"]\n",
    }.items():
        yield Case(f"plan: {name}", file("x.toml", text), refusals(applied))


def salvaged() -> Iterator[Case]:
    """Yield damaged files for `salvage`: false headers, missing ends."""
    from ckpttool.surgery.salvage import salvage

    def case(name: str, make: Callable[[Path], Path]) -> Case:
        def read(path: Path) -> object:
            found = salvage(path)
            return [len(tensor.read()) if tensor.shape else 0 for tensor in found.tensors.values()]

        return Case(f"salvage: {name}", make, refusals(read))

    makers = {**samples.WITH_CHECKSUMS, **samples.WITHOUT_CHECKSUMS}
    for name, maker in makers.items():
        for kind in ("half", "first bytes", "last bytes", "zeros within", "ones at the start", "twice"):

            def make(folder: Path, name: str = name, maker: samples.Maker = maker, kind: str = kind) -> Path:
                maker(folder / name)
                for path in sorted(folder.iterdir()):
                    data = bytearray(path.read_bytes())
                    third = len(data) // 3
                    data = {
                        "half": data[: len(data) // 2],
                        "first bytes": bytearray(b"\xff" * 8) + data[8:],
                        "last bytes": data[:-8],
                        "zeros within": data[:third] + bytes(third) + data[2 * third :],
                        "ones at the start": data[:4] + b"\xff" * 40 + data[44:],
                        "twice": data + data,
                    }[kind]
                    path.write_bytes(data)
                return folder / name

            yield case(f"{name}, {kind}", make)
    for size in (1, 1 << 20, 1 << 40, (1 << 64) - 1):
        yield case(f"safetensors, a header of {size}", file("x.safetensors", struct.pack("<Q", size) + b"{" * 100))
    header = b"{" + b",".join(b'"%d":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}' % n for n in range(100_000))
    yield case(
        "safetensors, 100,000 tensors on the same bytes, no end",
        file("x.safetensors", lambda: struct.pack("<Q", len(header) + 100) + header),
    )


def cases() -> Iterator[Case]:
    """Yield the cases."""
    yield from version_1()
    yield from indexes()
    yield from studies()
    yield from caches()
    yield from texts()
    yield from plans()
    yield from salvaged()
