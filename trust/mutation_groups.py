"""The modules that are mutated, and the tests that mirror them."""

from typing import NamedTuple


class Group(NamedTuple):
    """Modules, below `ckpttool/`, and tests, below `tests/`; `imports` are modules that the tests share.

    If `functions` are named, only these are mutated. Tests slower than `slowest` seconds are not run.
    """

    modules: tuple[str, ...]
    tests: tuple[str, ...]
    functions: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    slowest: float = 2.0


TENSORFLOW = ("tensorflow", "keras")
READING = ("archive", "data_file", "raw_tensors", "unmixed", "versions", "zip_layout")
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
GROUPS = {
    "safetensors": Group(
        ("formats/safetensors", "formats/ties.py"), ("formats/safetensors", "surgery/test_salvage.py")
    ),
    "npz": Group(("formats/npz",), ("formats/npz",)),
    "comparing": Group(
        ("surgery/verify.py", "surgery/blocks.py", "surgery/diff.py", "verbs/verify.py"),
        ("surgery/test_verify.py", "surgery/test_diff.py", "cli/test_verify.py", "cli/test_diff.py"),
    ),
    "lineage": Group(
        ("lineage", "verbs/log.py"),
        (
            "lineage",
            "verbs/test_log.py",
            "cli/test_log.py",
            "cli/test_log_plan.py",
            "cli/test_verify.py",
            "test_checkpoint.py",
        ),
        slowest=4.0,
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
    "writing": Group(
        ("formats/writing/read_back.py", "formats/writing/copying.py"),
        (
            "formats/test_read_back.py",
            "formats/test_copying.py",
            "formats/test_split_by_size.py",
            "formats/tensorflow/test_bundle.py",
            "formats/safetensors/test_format.py",
        ),
    ),
    "pairing": Group(
        ("searching/differences.py",),
        ("searching/test_differences.py",),
        functions=("by_seed", "Differences.between"),
    ),
    "wire": Group(
        ("formats/wire",),
        (
            *(f"formats/wire/test_{name}.py" for name in ("wire", "sorted_table", "strict_json", "checked_json")),
            "formats/tensorflow/test_bundle_bounds.py",
            "formats/tensorflow/test_bundle_damage.py",
        ),
    ),
    "reading": Group(
        tuple(f"formats/reading/{name}.py" for name in READING),
        ("formats/reading",),
    ),
    "prefix": Group(
        ("formats/tensorflow/prefix.py", "formats/tensorflow/folder.py"),
        ("formats/tensorflow/test_prefix.py",),
    ),
}
"""The groups that are tested by default: every survivor is explained in `survivors.txt`."""
BY_NAME = {
    "bundle": Group(
        tuple(f"formats/tensorflow/{name}.py" for name in BUNDLE),
        (
            *(f"formats/tensorflow/test_{name}.py" for name in BUNDLE_TESTS),
            "formats/test_copying.py",
        ),
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
    "hdf5": Group(("formats/hdf5",), ("formats/hdf5",), slowest=1.0),
    "keras": Group(
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
    "caffe": Group(("formats/caffe",), ("formats/caffe",), slowest=1.0),
    "darknet": Group(("formats/darknet",), ("formats/darknet",), slowest=1.0),
    "flax": Group(("formats/flax",), ("formats/flax",), slowest=1.0),
    "gguf": Group(("formats/gguf",), ("formats/gguf",), slowest=1.0),
    "tflite": Group(("formats/tflite",), ("formats/tflite",), slowest=1.0),
    "zarr": Group(("formats/zarr",), ("formats/zarr",), slowest=1.0),
    "torch-folders": Group(
        tuple(f"formats/pytorch/{name}.py" for name in ("distributed", "distributed_index", "zero", "zero_files")),
        ("formats/pytorch/test_distributed.py", "formats/pytorch/test_zero.py"),
        imports=("torch",),
    ),
    "patches": Group(
        ("formats/patch", "surgery/patching/applying.py", "surgery/patching/hashes.py"),
        ("formats/patch", "surgery/patching"),
    ),
    "asserting": Group(
        ("plans/assert_step.py", "plans/assertions.py"), ("plans/test_assertions.py", "plans/test_run.py")
    ),
    "adapters": Group(
        tuple(f"surgery/adapters/{name}.py" for name in ("adapter", "changes", "config")),
        ("surgery/adapters", "verbs/test_extract.py"),
        imports=("torch",),
    ),
    "sources": Group(
        ("verbs/apply.py", "plans/script.py"),
        ("verbs/test_apply.py", "plans/test_script.py", "plans/test_run.py", "cli/test_apply.py"),
        functions=("_require_hash", "_opened", "_sources", "_is_source", "Script.given", "plan_apply"),
    ),
    "graph-files": Group(
        ("graph/files.py", "verbs/fold.py"),
        ("graph/test_files.py", "cli/test_fold.py"),
        functions=("save", "require_written", "FoldPlan.write", "FoldPlan.check"),
        imports=TENSORFLOW,
        slowest=10.0,
    ),
    "saved-state": Group(
        tuple(f"training/{name}.py" for name in ("run_report", "unfinished", "prediction_files", "saves")),
        tuple(f"training/test_{name}.py" for name in ("run_report", "unfinished", "prediction_files", "saves")),
        functions=(
            "RunReport.parse",
            "read_part",
            "require_options",
            "unfinished",
            "_is_begun",
            "_require_same",
            "_write_csv",
            "_State",
            "asked_before",
        ),
    ),
    "staging": Group(("data/staging.py",), ("data/test_staging.py", "data/sources"), functions=("staged", "_whole")),
    "catalogue": Group(
        (
            *(f"zoo/{name}.py" for name in ("blobs", "catalogues", "checking", "compacting", "downloads", "hashing")),
            *(f"catalogue/{name}.py" for name in ("manifest", "placing", "recipes")),
        ),
        (
            *(f"zoo/test_{name}.py" for name in ("blobs", "catalogues", "compacting", "hostile", "removal", "store")),
            "remote/test_pull.py",
        ),
    ),
    "pulls": Group(
        ("zoo/hub.py", "zoo/pull.py"),
        ("zoo/test_pull_hub.py", "remote/test_pull.py"),
        functions=("_listed", "_require_listed", "_required_hash", "from_web", "from_hub", "Repository"),
    ),
    "vocabularies": Group(
        ("surgery/merging/vocabulary.py", "surgery/merging/vocabulary_tensors.py"),
        ("surgery/merging/test_vocabulary.py", "surgery/merging/test_alignment.py", "cli/test_merge.py"),
    ),
}
"""The groups that are tested only if they are named."""
