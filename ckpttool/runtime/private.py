"""What ckpttool needs of TensorFlow's private parts: `tensorflow.python`, and methods whose names begin with `_`.

All of it is here, a small function for each need; `tests/runtime/test_private.py` tests what each one needs. When a
version of TensorFlow changes one, that test fails, and the place to mend it is here.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from ckpttool.runtime.configure import tensorflow


def is_registered(op: str) -> bool:
    """Say whether TensorFlow, with all that was loaded into it, knows a type of op.

    Needs `op_def_registry.get(type)`, which gives None of what it does not know.
    """
    tensorflow()  # says what to install where it is missing
    from tensorflow.python.framework import op_def_registry

    return op_def_registry.get(op) is not None


def register_functions(library: Any) -> None:
    """Make the functions of a `FunctionDefLibrary` known to the process, where each `tf.function` finds them.

    `import_graph_def` tells them only to the graph that it imports into, not to the loops and conditionals inside of a
    `tf.function`. Needs `context().add_function_def(function)`.
    """
    from tensorflow.python.eager import context

    for function in library.function:
        context.context().add_function_def(function)


def leave_unordered(ops: Iterable[Any]) -> None:
    """Keep a `tf.function` from giving ops (of the graph that is being built) control inputs of its own.

    Needs that a `tf.function` leaves out ops whose control flow context is that of a TensorFlow 1 loop
    (`_set_control_flow_context`, `WhileContext`).
    """
    from tensorflow.python.ops.control_flow_ops import WhileContext

    ops = list(ops)
    context = WhileContext() if ops else None
    for op in ops:
        op._set_control_flow_context(context)


def with_rate_per_variable(
    base: Any, rates: Mapping[str, Any], decay: float, after: Callable[[], list[Any]]
) -> Callable[..., Any]:
    """Return a subclass of a TensorFlow 1 optimizer whose rate depends on the variable, by the name of its op.

    It is made with the first of the rates, and keeps one set of Adam's powers. With a `decay` each step takes
    rate * decay of a weight away, of tensors of rank 2 and more. What `after` makes runs after the updates, and before
    the training op is done.

    Needs the methods that `tf.train.Optimizer` leaves to its subclasses (`_apply_dense` and its three kin, `_prepare`,
    `_finish`), and that they take the rate from `_lr` (Adam) or `_learning_rate` (the others) when they are called.
    """
    tf1 = tensorflow().compat.v1

    class RatePerVariable(base):  # type: ignore[misc]
        _rate_in_use = next(iter(rates.values()), None)

        def _updated(self, update: Callable[..., Any], gradient: Any, variable: Any, *more: Any) -> Any:
            rate = rates[variable.op.name]
            if rate is not self._rate_in_use:
                self._rate_in_use = self._lr = self._learning_rate = rate
                self._prepare()
            if not decay or variable.shape.rank in (0, 1):
                return update(gradient, variable, *more)
            shrink = variable * tf1.cast(rate * decay, variable.dtype.base_dtype)  # of the weights before the update
            with tf1.control_dependencies([shrink]):
                updated = update(gradient, variable, *more)
            with tf1.control_dependencies([updated]):
                return variable.assign_sub(shrink, read_value=False)

        def _apply_dense(self, *arguments: Any) -> Any:
            return self._updated(super()._apply_dense, *arguments)

        def _resource_apply_dense(self, *arguments: Any) -> Any:
            return self._updated(super()._resource_apply_dense, *arguments)

        def _apply_sparse_duplicate_indices(self, *arguments: Any) -> Any:
            return self._updated(super()._apply_sparse_duplicate_indices, *arguments)

        def _resource_apply_sparse_duplicate_indices(self, *arguments: Any) -> Any:
            return self._updated(super()._resource_apply_sparse_duplicate_indices, *arguments)

        def _finish(self, update_ops: list[Any], name_scope: str) -> Any:
            with tf1.control_dependencies(update_ops):
                return super()._finish([*update_ops, *after()], name_scope)

    return RatePerVariable


def outputs_at_import(definition: bytes, ops: Collection[str]) -> dict[str, list[Any]]:
    """Return what comes out of ops of a serialised GraphDef, by their names: symbolic tensors, with dtype and shape.

    The import in Python makes an object for each op of the graph, which takes ten times as long. Needs what it does
    the rest with: `TF_GraphImportGraphDefWithResults`, `new_operations` of a graph, `Operation._from_c_op`.
    """
    tensorflow()
    from tensorflow.python.client import pywrap_tf_session as session
    from tensorflow.python.framework import c_api_util
    from tensorflow.python.framework.ops import Graph, Operation

    graph, options = Graph(), c_api_util.ScopedTFImportGraphDefOptions()
    buffer = session.TF_NewBufferFromString(definition)
    try:
        with graph._c_graph.get() as held:
            results = session.TF_GraphImportGraphDefWithResults(held, buffer, options.options)
    finally:
        session.TF_DeleteBuffer(buffer)
    c_api_util.ScopedTFImportGraphDefResults(results)  # which frees them
    made = {session.TF_OperationName(op): op for op in graph.new_operations()}
    return {name: list(Operation._from_c_op(made[name], graph).outputs) for name in ops}
