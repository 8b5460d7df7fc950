"""Hostile models, made with plain TensorFlow: they read and write files, run a graph from a string, end the process.

The logits depend on the hostile op directly, in a function, in a mapped one, in a branch on a variable, or in a loop.
`evaluate` is run on each in a watched fork; `tensorflow_itself.py` runs the same models with TensorFlow.

    python trust/acting_models.py [--every N]
"""

import argparse
import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hostile_graphs import RUNNING, Canaries, run
from samples import folder as quick_folder

Act = Callable[[str, str], Any]
"""A function that makes an op from two paths: of an existing file, and of a missing one."""
READ, NEW = "canary", "canary_new"
FIGURE = "models that act in TensorFlow"


def acts() -> dict[str, Act]:
    """Return the functions that make the ops, by name."""
    import tensorflow as tf

    raw, dataset_class = tf.raw_ops, tf.data.Dataset

    def counted(dataset: Any) -> Any:
        return dataset.reduce(0, lambda count, _: count + 1)

    def table(path: str, _: str) -> Any:
        handle = raw.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64)
        columns = {"key_index": -2, "value_index": -1, "vocab_size": -1, "delimiter": " "}
        return raw.InitializeTableFromTextFileV2(table_handle=handle, filename=path, **columns)

    def summary(_: str, path: str) -> Any:
        writer = raw.SummaryWriter(shared_name="", container="")
        return raw.CreateSummaryFileWriter(writer=writer, logdir=path, max_queue=1, flush_millis=1, filename_suffix="")

    def graph_in_a_text(path: str, _: str) -> Any:
        with tf.Graph().as_default() as hidden:
            raw.TextLineDataset(filenames=[path], compression_type="", buffer_size=0, name="lines")
        graph = hidden.as_graph_def()
        end = graph.node.add(name="end", op="_Retval", input=["lines"])
        end.attr["T"].type, end.attr["index"].i = tf.variant.as_datatype_enum, 0
        text = tf.where(tf.random.uniform([]) < 2, graph.SerializeToString(), "")  # known only at run time
        made = raw.DatasetFromGraph(graph_def=text)
        return raw.DatasetToSingleElement(dataset=made, output_types=[tf.string], output_shapes=[[]])

    return {
        "ReadFile": lambda there, _: tf.io.read_file(there),
        "WriteFile": lambda _, new: tf.io.write_file(new, "written"),
        "PrintV2": lambda _, new: tf.print("printed", output_stream=f"file://{new}"),
        "SaveV2": lambda _, new: raw.SaveV2(prefix=new, tensor_names=["a"], shape_and_slices=[""], tensors=[[1.0]]),
        "ImmutableConst": lambda there, _: raw.ImmutableConst(dtype=tf.uint8, shape=[6], memory_region_name=there),
        "TextLineDataset": lambda there, _: counted(tf.data.TextLineDataset(there)),
        "FixedLengthRecordDataset": lambda there, _: counted(tf.data.FixedLengthRecordDataset(there, 1)),
        "CacheDataset": lambda _, new: counted(dataset_class.range(2).cache(new)),
        "DatasetToTFRecord": lambda _, new: raw.DatasetToTFRecord(
            input_dataset=dataset_class.from_tensors("a")._variant_tensor, filename=new, compression_type=""
        ),
        "InitializeTableFromTextFile": table,
        "GenerateVocabRemapping": lambda there, _: raw.GenerateVocabRemapping(
            new_vocab_file=there, old_vocab_file=there, new_vocab_offset=0, num_new_vocab=1
        ),
        "CreateSummaryFileWriter": summary,
        "DebugIdentity": lambda _, new: raw.DebugIdentityV2(
            input=1.0, tfdbg_context_id="", op_name="", output_slot=0, tensor_debug_mode=1, debug_urls=[f"file://{new}"]
        ),
        "DatasetFromGraph": graph_in_a_text,
        "Abort": lambda *_: raw.Abort(error_msg="aborted", exit_without_error=False),
    }


def awaited(made: Any) -> Any:
    """Return a number that depends on the result of an act: an op, a tensor, or several."""
    import tensorflow as tf

    made = made[0] if isinstance(made, list | tuple) else made
    if isinstance(made, tf.Operation):
        with tf.control_dependencies([made]):
            return tf.random.uniform([])
    return tf.reduce_sum(tf.cast(tf.strings.length(made) if made.dtype == tf.string else made, tf.float32))


def places() -> dict[str, Callable[[Callable[[], Any]], Any]]:
    """Return the functions that put an act into each place, and return a number."""
    import tensorflow as tf

    def branch(act: Callable[[], Any]) -> Any:
        steered = tf.compat.v1.get_variable("steering", (), initializer=tf.compat.v1.ones_initializer())
        return tf.cond(steered > 0, act, lambda: 0.0)

    def mapped(act: Callable[[], Any]) -> Any:
        return tf.data.Dataset.range(1).map(lambda _: act()).reduce(0.0, lambda total, each: total + each)

    def loop(act: Callable[[], Any]) -> Any:
        return tf.while_loop(lambda count, _: count < 1, lambda count, total: [count + 1, total + act()], [0, 0.0])[1]

    return {
        "plain": lambda act: act(),
        "call": lambda act: tf.function(act)(),
        "map": mapped,
        "if": branch,
        "while": loop,
    }


def make(act: str, place: str, folder: Path) -> None:
    """Write a hostile model with its weights, rows and canary."""
    import tensorflow as tf

    tf1 = tf.compat.v1
    with tf1.Graph().as_default():
        x, y = tf1.placeholder(tf.float32, (None, 4), name="X"), tf1.placeholder(tf.int32, (None,), name="y")
        with tf1.variable_scope("hidden1"):
            hidden = tf.nn.relu(x @ tf1.get_variable("kernel", (4, 5), use_resource=True), name="Relu")
        acted = places()[place](lambda: awaited(acts()[act](str(folder / READ), str(folder / NEW))))
        with tf1.variable_scope("outputs"):
            logits = tf.matmul(hidden + acted, tf1.get_variable("kernel", (5, 3), use_resource=True), name="logits")
        tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits), name="loss/loss")
        with tf1.Session() as session:
            session.run(tf1.global_variables_initializer())
            tf1.train.Saver().save(session, str(folder / "model.ckpt"))
    np.savez(folder / "data.npz", x_train=np.ones((60, 4), "f"), y_train=np.arange(60, dtype="i4") % 3)
    (folder / READ).write_text("secret 1\n")


def run_in_tensorflow(folder: Path) -> str:
    """Import a model, restore it and run its logits with plain TensorFlow; return whether it acted."""
    import tensorflow as tf

    tf1 = tf.compat.v1
    canaries = Canaries(folder)
    with tf1.Graph().as_default(), tf1.Session() as session:
        try:
            tf1.train.import_meta_graph(str(folder / "model.ckpt.meta")).restore(session, str(folder / "model.ckpt"))
            session.run("outputs/logits:0", {"X:0": np.ones((1, 4), "f")})
        except tf.errors.OpError:
            pass  # the file may not be a vocabulary, but it was read
    return "acted" if canaries.touched() else "did not act"


def made(base: Path, every: int) -> Iterator[tuple[str, str, Path]]:
    """Yield every Nth pair of act and place, with the folder of its model."""
    for act, place in [(act, place) for act in acts() for place in places()][::every]:
        folder = Path(tempfile.mkdtemp(dir=base)) / "case"
        folder.mkdir()
        child = os.fork()
        if not child:
            code = 1
            try:
                make(act, place, folder)
                code = 0
            finally:
                os._exit(code)
        if os.waitpid(child, 0)[1]:
            raise SystemExit(f"no model of {act} {place}")
        yield act, place, folder


def evaluated(folder: Path) -> str:
    """Run `evaluate` on a model in a fork, and return that it was refused, or what is bad."""
    canaries, answer = Canaries(folder), folder.with_suffix(".answer")
    answer.write_text("the process died")
    child = os.fork()
    if not child:
        os.chdir(folder)
        code, said = run(RUNNING["evaluate"])
        answer.write_text("refused" if code == 2 else f"ended by {code}: {said}")
        os._exit(0)
    os.waitpid(child, 0)
    touched = canaries.touched()
    canaries.close()
    return f"touched {touched}" if touched else answer.read_text()


def main() -> None:
    """Evaluate all models, and print bad outcomes and the totals."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--every", type=int, default=1, help="only every Nth model")
    asked, tried, bad = parser.parse_args(), 0, 0
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory(dir=quick_folder()) as base:
        for act, place, folder in made(Path(base), asked.every):
            how = evaluated(folder)
            tried, bad = tried + 1, bad + (how != "refused")
            if how != "refused":
                print("bad:", act, place, how[:300], flush=True)
    note = f"{len(acts())} ops in {len(places())} places, all refused" if not bad else ""
    print(json.dumps({"figure": FIGURE, "tried": tried, "bad": bad, "note": note}))
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
