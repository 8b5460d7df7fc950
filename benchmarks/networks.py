"""TensorFlow 1 graphs in the usual form: exported without a checkpoint, and run by a plain session."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ckpttool.runtime.configure import configure_tensorflow, tensorflow


def exported(path: Path, build: Callable[..., Any], *sizes: Any) -> Path:
    """Write the graph of a network, without a checkpoint."""
    configure_tensorflow()  # this process is ours; only the first call before the import matters
    tf1 = tensorflow().compat.v1
    with tf1.Graph().as_default():
        build(tf1, *sizes)
        tf1.train.Saver()
        tf1.train.export_meta_graph(str(path))
    return path


def answer(prefix: Path, feed: dict[str, Any], name: str = "answer") -> Any:
    """Return a plain session's result of the op with this name, in any scope."""
    tf1 = tensorflow().compat.v1
    with tf1.Graph().as_default(), tf1.Session() as session:
        tf1.train.import_meta_graph(f"{prefix}.meta").restore(session, str(prefix))
        (found,) = (op.outputs[0] for op in session.graph.get_operations() if op.name.split("/")[-1] == name)
        return session.run(found, feed)
