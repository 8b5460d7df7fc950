"""All uses of TensorFlow's private APIs: `tensorflow.python`, and methods whose names start with `_`.

Each use is a small function; `tests/runtime/test_private.py` tests the API that it needs. If a
version of TensorFlow changes an API, its test fails, and the fix belongs here.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from ckpttool.runtime.configure import tensorflow


def is_registered(op: str) -> bool:
    """Return whether TensorFlow, with all loaded libraries, knows a type of op.

    Needs `op_def_registry.get(type)`, which returns None for unknown types.
    """
    tensorflow()  # raises an error with instructions if missing
    from tensorflow.python.framework import op_def_registry

    return op_def_registry.get(op) is not None


def register_functions(library: Any) -> None:
    """Register the functions of a `FunctionDefLibrary` in the process, so that any `tf.function` finds them.

    `import_graph_def` registers them only in the graph that it imports into, not in the loops and conditionals inside a
    `tf.function`. Needs `context().add_function_def(function)`.
    """
    from tensorflow.python.eager import context

    for function in library.function:
        context.context().add_function_def(function)


def leave_unordered(ops: Iterable[Any]) -> None:
    """Prevent a `tf.function` from adding automatic control inputs to ops of the current graph.

    Needs that a `tf.function` adds none to ops whose control flow context is that of a TensorFlow 1 loop
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

    It is constructed with the first rate, and has one set of Adam's beta powers. With a `decay`, each step subtracts
    rate * decay times the weight, for tensors of rank 2 or more. The ops returned by `after` run after the updates, and
    before the training op is complete.

    Needs the methods that subclasses of `tf.train.Optimizer` implement (`_apply_dense` and its three variants,
    `_prepare`, `_finish`), and that these read the rate from `_lr` (Adam) or `_learning_rate` (others) when called.
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
            shrink = variable * tf1.cast(rate * decay, variable.dtype.base_dtype)  # by the weights before the update
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
    """Return the outputs of ops of a serialised GraphDef, by op name: symbolic tensors with dtype and inferred shape.

    The import in Python creates an object for each op, which takes ten times as long. Needs the functions that it
    calls: `TF_GraphImportGraphDefWithResults`, `new_operations` of a graph, `Operation._from_c_op`.
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
    c_api_util.ScopedTFImportGraphDefResults(results)  # frees them
    made = {session.TF_OperationName(op): op for op in graph.new_operations()}
    return {name: list(Operation._from_c_op(made[name], graph).outputs) for name in ops}
