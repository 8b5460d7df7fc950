"""The modules that are mutated, and the tests that mirror them: a group per package, and those that deviate."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]


class Group(NamedTuple):
    """Modules, below `ckpttool/`, and tests, below `tests/`; `imports` are modules that the tests share.

    If `functions` are named, only these are mutated. Tests slower than `slowest` seconds are not run.
    """

    modules: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    slowest: float = 2.0


TENSORFLOW = ("tensorflow", "keras")
BUNDLE = ("bundle", "bundle_data", "bundle_index", "bundle_writer", "slices", "v1")
BUNDLE_TESTS = (
    "bundle",
    "bundle_data",
    "bundle_index",
    "bundle_bounds",
    "bundle_crash",
    "bundle_damage",
    "slices",
    "v1",
)
PLACES = ("formats", "catalogue", "checkpoint", "confinement", "lineage", "remote", "scanning", "surgery", "zoo")
"""The packages in which, and below which, each is a group: all that reads, writes, fetches or keeps checkpoints."""
PACKAGES = {
    "safetensors": Group(("formats/ties.py",), ("surgery/test_salvage.py",)),
    "wire": Group(tests=("formats/tensorflow/test_bundle_bounds.py", "formats/tensorflow/test_bundle_damage.py")),
    "writing": Group(
        tests=tuple(
            f"formats/test_{name}.py" for name in ("attributes", "files", "staging", "system", "temporary", "faults")
        ),
    ),
    "keras": Group(imports=TENSORFLOW, slowest=15.0),
    "pytorch": Group(tests=("scanning/test_files.py",), imports=("torch",)),
    "tensorflow": Group(imports=TENSORFLOW, slowest=10.0),
    "tfjs": Group(imports=TENSORFLOW, slowest=10.0),
    "onnx": Group(tests=("formats/reading/test_limits.py",)),
    "patch": Group(tests=("surgery/patching",)),
    "lineage": Group(
        ("verbs/log.py",),
        (
            *(f"cli/test_{name}.py" for name in ("log", "log_plan", "verify")),
            "verbs/test_log.py",
            "test_checkpoint.py",
        ),
        slowest=4.0,
    ),
    "checkpoint": Group(tests=("test_checkpoint.py",)),
    "catalogue": Group(tests=("zoo", "remote/test_pull.py")),
    "zoo": Group(tests=("remote/test_pull.py",)),
    "surgery/adapters": Group(tests=("verbs/test_extract.py",), imports=("torch",)),
    "surgery/patching": Group(tests=("formats/patch",)),
    "surgery/salvaging": Group(tests=("surgery/test_salvage.py", "cli/test_salvage.py")),
}
"""What groups of packages have besides their own modules and tests."""
BY_HAND = {
    "read-back": Group(
        ("formats/writing/read_back.py", "formats/writing/copying.py"),
        (
            *(f"formats/test_{name}.py" for name in ("read_back", "copying", "split_by_size")),
            "formats/tensorflow/test_bundle.py",
            "formats/safetensors/test_format.py",
        ),
    ),
    "comparing": Group(
        ("surgery/verify.py", "surgery/blocks.py", "surgery/diff.py", "verbs/verify.py"),
        ("surgery/test_verify.py", "surgery/test_diff.py", "cli/test_verify.py", "cli/test_diff.py"),
    ),
    "cache": Group(
        ("data/feature_store.py", "data/feature_files.py", "data/feature_parts.py", "data/fingerprint.py"),
        (
            "data/test_feature_store.py",
            "data/test_feature_parts.py",
            "data/test_fingerprint.py",
            "cli/test_cache_folder.py",
        ),
    ),
    "search": Group(
        ("searching/study.py", "searching/study_file.py"),
        ("searching/test_study.py", "searching/test_differences.py", "searching/test_stopping.py"),
    ),
    "pairing": Group(
        ("searching/differences.py",),
        ("searching/test_differences.py",),
        functions=("by_seed", "Differences.between"),
    ),
    "prefix": Group(
        ("formats/tensorflow/prefix.py", "formats/tensorflow/folder.py"),
        ("formats/tensorflow/test_prefix.py",),
    ),
    "bundle": Group(
        tuple(f"formats/tensorflow/{name}.py" for name in BUNDLE),
        (*(f"formats/tensorflow/test_{name}.py" for name in BUNDLE_TESTS), "formats/test_copying.py"),
    ),
    "saved-model": Group(
        ("formats/tensorflow/saved_model.py", "formats/tensorflow/object_checkpoint.py"),
        (
            "formats/tensorflow/test_saved_model.py",
            "formats/tensorflow/test_object_checkpoint.py",
            "cli/test_export_saved_model.py",
        ),
        slowest=10.0,
        imports=TENSORFLOW,
    ),
    "keras-files": Group(
        tuple(f"formats/keras/{name}.py" for name in ("archive", "copy", "files", "weights", "writing")),
        tuple(f"formats/keras/test_{name}.py" for name in ("archive", "copy", "files", "weights", "writing")),
        slowest=15.0,
        imports=TENSORFLOW,
    ),
    "model": Group(
        ("model/model.py", "model/families.py"),
        (
            *(f"model/test_{name}.py" for name in ("model", "families")),
            *(f"cli/test_{name}.py" for name in ("proofs", "strip")),
            "runtime/keras/test_write.py",
        ),
        imports=TENSORFLOW,
        slowest=30.0,
        functions=("require_as_meant", "ready_to_write", "write_model", "write_folder", "KerasWriter.write"),
    ),
    "training": Group(
        ("verbs/finetune.py", "training/saves.py", "training/feature_cache.py"),
        (
            "cli/test_proofs.py",
            "verbs/test_finetune.py",
            "verbs/test_cache.py",
            "cli/test_cache.py",
            "training/test_feature_cache.py",
            "training/test_saves.py",
            "training/test_resume.py",
        ),
        imports=TENSORFLOW,
        slowest=15.0,
        functions=(
            "_prove",
            "checked_writer",
            "Saves.latest",
            "_read",
            "refuse_saves",
            "FeatureCache._check",
            "FeatureCache._equal",
            "FeatureCache.open",
            "FeatureCache.compute",
        ),
    ),
    "import": Group(
        ("verbs/reference.py", "verbs/import_proof.py"),
        (
            *(f"verbs/test_{name}.py" for name in ("reference_differences", "reference", "import_proof")),
            "cli/test_import_proof.py",
            "cases/test_batch_norm_epsilon.py",
        ),
        imports=TENSORFLOW,
        slowest=15.0,
    ),
    "asserting": Group(
        ("plans/assert_step.py", "plans/assertions.py"), ("plans/test_assertions.py", "plans/test_run.py")
    ),
    "sources": Group(
        ("verbs/apply.py", "plans/script.py"),
        ("verbs/test_apply.py", "plans/test_script.py", "plans/test_run.py", "cli/test_apply.py"),
        functions=("_require_hash", "_opened", "_sources", "_is_source", "Script.given", "plan_apply"),
    ),
    "graph-files": Group(
        ("graph/files.py", "graph/parsing.py", "verbs/fold.py"),
        (
            "graph/test_files.py",
            "cli/test_fold.py",
            "lineage/test_provenance.py",
            "formats/tensorflow/test_tied_graph.py",
        ),
        functions=("save", "require_written", "FoldPlan.write", "FoldPlan.check"),
        imports=TENSORFLOW,
        slowest=10.0,
    ),
    "saved-state": Group(
        tuple(
            f"training/{name}.py" for name in ("run_report", "unfinished", "prediction_files", "save_state", "saves")
        ),
        tuple(
            f"training/test_{name}.py"
            for name in ("run_report", "unfinished", "prediction_files", "save_state", "saves")
        ),
        functions=(
            "RunReport.parse",
            "read_part",
            "require_options",
            "unfinished",
            "_is_begun",
            "_require_same",
            "_write_csv",
            "SaveState",
            "asked_before",
        ),
    ),
    "staging": Group(("data/staging.py",), ("data/test_staging.py", "data/sources"), functions=("staged", "_whole")),
    "vocabularies": Group(
        ("surgery/merging/vocabulary.py", "surgery/merging/vocabulary_tensors.py"),
        ("surgery/merging/test_vocabulary.py", "surgery/merging/test_alignment.py", "cli/test_merge.py"),
    ),
}
"""The groups that are no packages: proofs outside of them, and parts of packages that are tested apart."""


def _packages() -> Iterator[str]:
    """Yield the packages whose groups follow from their place, below `ckpttool/`."""
    for place in PLACES:
        for path in sorted([ROOT / "ckpttool" / place, *(ROOT / "ckpttool" / place).rglob("*/")]):
            package = path.relative_to(ROOT / "ckpttool").as_posix()
            if any((ROOT / "tests" / package).glob("test_*.py")) or _named(package) in PACKAGES:
                yield package


def _named(package: str) -> str:
    return package.removeprefix("formats/")


def _group(package: str) -> Group:
    """Return the group of a package: its modules that no other group mutates whole, and the tests in the same place."""
    apart = {
        module for group in (*BY_HAND.values(), *PACKAGES.values()) if not group.functions for module in group.modules
    }
    paths = sorted((ROOT / "ckpttool" / package).glob("*.py"))
    own = [path.relative_to(ROOT / "ckpttool").as_posix() for path in paths if path.name != "__init__.py"]
    tests = sorted((ROOT / "tests" / package).glob("test_*.py"))
    more = PACKAGES.get(_named(package), Group())
    return more._replace(
        modules=(*(name for name in own if name not in apart), *more.modules),
        tests=tuple(dict.fromkeys([*(path.relative_to(ROOT / "tests").as_posix() for path in tests), *more.tests])),
    )


GROUPS = {**{_named(package): _group(package) for package in _packages()}, **BY_HAND}
"""All groups by name."""
CHECKED = (
    *("safetensors", "npz", "comparing", "lineage", "cache", "search", "read-back"),
    *("pairing", "wire", "reading", "prefix"),
)
"""The groups that are tested by default: every survivor is explained in `survivors.txt`."""
