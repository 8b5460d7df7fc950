"""Small networks of plain TensorFlow 1 ops, for every test that needs a graph with certain parts."""

import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph.core import Graph
from ckpttool.runtime.recipe import Recipe
from ckpttool.verbs.new import new

# The first import of TensorFlow decides whether oneDNN is used; tests compare bits between processes.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
# Background jobs of a shell ignore Ctrl-C, which tests send.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Checks are deterministic here; `make trust` looks for new examples.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("new-examples", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


@pytest.fixture(autouse=True, scope="session")
def own_state(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the commands' records for their user out of the folder of whoever runs the tests."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))
    os.environ["CKPTTOOL_ZOO"] = str(tmp_path_factory.mktemp("zoo"))


@pytest.fixture(autouse=True, scope="session")
def no_waiting_for_the_disk() -> Iterator[None]:
    """Skip the wait for the disk, a quarter of the time of everything that writes: no test cuts the power.

    That it is called, in which order, and the effect of its failure or absence, is tested all the same.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", _synced)
        yield


def _synced(descriptor: Any) -> None:
    """A file that is not open is an error, as usual."""
    os.fstat(descriptor if isinstance(descriptor, int) else descriptor.fileno())


BROWSER = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
"""Options of a browser that runs as root in a container, without requests of its own."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium without a window: the system's, else the one installed by `playwright install chromium`."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="the browser's driver is for development")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=BROWSER)
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[[Path], Any]]:
    """Open a page from a file; at the end it must have had no errors, and have requested nothing but the file.

    Pictures embedded in a page are not requests.
    """
    context = browser.new_context(offline=True)
    asked: list[str] = []
    wrong: list[str] = []
    files: list[str] = []
    page = context.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))

    def open_page(path: Path) -> Any:
        files.append(path.as_uri())
        page.goto(path.as_uri())
        return page

    yield open_page
    context.close()
    assert (wrong, [url for url in asked if not url.startswith("data:")]) == ([], files)


LAYERS = "hidden1 = dense(8, relu); hidden2 = dense(6, elu); outputs = dense(3)"


def as_written(v1: Any) -> Any:
    """Return options for a session without optimisation, which takes ten times as long as running a small graph."""
    config = v1.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    config.graph_options.optimizer_options.opt_level = v1.OptimizerOptions.L0
    return config


class Network:
    """A TensorFlow graph under construction: layers of plain ops, saved, exported and run."""

    def __init__(self, resource: bool = False) -> None:
        import tensorflow as tf

        self.tf, self.v1, self.resource = tf, tf.compat.v1, resource
        self.graph = tf.Graph()

    @contextlib.contextmanager
    def building(self, functional: bool = False) -> Iterator["Network"]:
        """Build in the graph; conditionals are Switch and Merge, or with `functional`, If."""
        was = self.v1.control_flow_v2_enabled()
        (self.v1.enable_control_flow_v2 if functional else self.v1.disable_control_flow_v2)()
        try:
            with self.graph.as_default():
                self.v1.set_random_seed(7)
                yield self
        finally:
            (self.v1.enable_control_flow_v2 if was else self.v1.disable_control_flow_v2)()

    def inputs(self, width: int = 4) -> tuple[Any, Any, Any]:
        """Return X, y and `training`."""
        X = self.v1.placeholder(self.tf.float32, [None, width], name="X")
        y = self.v1.placeholder(self.tf.int64, [None], name="y")
        return X, y, self.v1.placeholder_with_default(False, [], name="training")

    def variable(self, name: str, shape: list[int], trainable: bool = True, value: float | None = None) -> Any:
        v1 = self.v1
        start = v1.glorot_uniform_initializer(seed=3) if value is None else v1.constant_initializer(value)
        return v1.get_variable(name, shape, initializer=start, trainable=trainable, use_resource=self.resource)

    def dense(self, x: Any, units: int, name: str, relu: bool = True) -> Any:
        with self.v1.variable_scope(name):
            kernel = self.variable("kernel", [x.shape[1], units])
            bias = self.variable("bias", [units], value=0.1)
            z = self.tf.nn.bias_add(self.tf.matmul(x, kernel), bias)
            return self.tf.nn.relu(z, name="Relu") if relu else z

    def batch_norm(self, x: Any, training: Any, name: str) -> Any:
        """Normalise as `tf.layers` did: a conditional, and moving averages updated through UPDATE_OPS."""
        tf = self.tf
        with self.v1.variable_scope(name):
            gamma, beta = (self.variable(part, [x.shape[1]], value=v) for part, v in (("gamma", 1.1), ("beta", 0.2)))
            mean = self.variable("moving_mean", [x.shape[1]], trainable=False, value=0.3)
            variance = self.variable("moving_variance", [x.shape[1]], trainable=False, value=1.5)

            def batch() -> Any:
                m, v = tf.nn.moments(x, [0])
                return tf.nn.batch_normalization(x, m, v, beta, gamma, 1e-3), m, v

            def moving() -> Any:
                m, v = tf.identity(mean), tf.identity(variance)
                return tf.nn.batch_normalization(x, m, v, beta, gamma, 1e-3), m, v

            y, m, v = self.v1.cond(training, batch, moving)
            for average, now in ((mean, m), (variance, v)):
                update = self.v1.assign_sub(average, (average - now) * 0.1)
                self.v1.add_to_collection(self.v1.GraphKeys.UPDATE_OPS, update if not self.resource else update.op)
            return y

    def dropout(self, x: Any, training: Any, name: str) -> Any:
        with self.v1.name_scope(name):
            return self.v1.cond(training, lambda: self.tf.nn.dropout(x, 0.5, seed=3), lambda: self.tf.identity(x))

    def classify(self, x: Any, y: Any, optimizer: Any = None) -> None:
        """Add loss, accuracy and a training op (with UPDATE_OPS before it) for the logits."""
        tf, v1 = self.tf, self.v1
        with v1.name_scope("loss"):
            each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=x)
            loss = tf.reduce_mean(each, name="loss")
        with v1.name_scope("eval"):
            tf.reduce_mean(tf.cast(tf.equal(tf.argmax(x, 1), y), tf.float32), name="accuracy")
        if optimizer is not None:
            with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
                optimizer.minimize(loss, name="train")

    def export(self) -> Graph:
        """Return the graph as ckpttool's `Graph`."""
        with self.graph.as_default():
            raw = self.v1.train.export_meta_graph().SerializeToString()
        return Graph(MetaGraphDef.FromString(raw), "network")

    def save(self, prefix: Path) -> Path:
        """Initialise the variables and save the model under a prefix."""
        with self.graph.as_default(), self.v1.Session(config=as_written(self.v1)) as session:
            session.run(self.v1.global_variables_initializer())
            self.v1.train.Saver().save(session, str(prefix), write_state=False)
        return prefix


class Session:
    """A ckpttool graph in a plain TensorFlow program: imported, restored, run, saved."""

    def __init__(self, graph: Graph | Path, checkpoint: Path | None, optimised: bool = False) -> None:
        """Import and restore; with `optimised`, ops are fused as in a function, for equality to the last bit."""
        import tensorflow as tf

        self.v1 = tf.compat.v1
        self.graph = tf.Graph()
        with self.graph.as_default():
            meta = f"{graph}.meta" if isinstance(graph, Path) else self._message(graph)
            self.saver = self.v1.train.import_meta_graph(meta)
            self.session = self.v1.Session(config=None if optimised else as_written(self.v1))
            if checkpoint is None:
                self.session.run(self.v1.global_variables_initializer())
            else:
                (self.saver or self.v1.train.Saver()).restore(self.session, str(checkpoint))

    def _message(self, graph: Graph) -> Any:
        return self.v1.MetaGraphDef.FromString(graph.meta.SerializeToString())

    def run(self, what: Any, feed: dict[str, Any] | None = None) -> Any:
        return self.session.run(what, feed)

    def save(self, prefix: Path) -> Path:
        """Save with the graph's own saver."""
        with self.graph.as_default():
            self.saver.save(self.session, str(prefix), write_state=False)
        return prefix

    def weights(self) -> dict[str, Any]:
        with self.graph.as_default():
            found = {variable.op.name: variable for variable in self.v1.global_variables()}
            return dict(self.session.run(found))


def rows(count: int = 8, width: int = 4, classes: int = 3) -> dict[str, Any]:
    """Return a feed of X and y, always the same."""
    draw = np.random.default_rng(5)
    return {
        "X:0": draw.normal(size=(count, width)).astype(np.float32),
        "y:0": draw.integers(0, classes, size=count),
    }


@pytest.fixture(scope="session")
def new_network() -> type[Network]:
    """The class of networks; a fixture, because tests cannot import one another."""
    return Network


@pytest.fixture
def new_session() -> type[Session]:
    """The class of sessions."""
    return Session


@pytest.fixture
def feed() -> dict[str, Any]:
    """Eight rows for X and y."""
    return rows()


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 rows of 4 numbers in 3 classes that a small network can learn, and 60 to test."""
    random = np.random.default_rng(1)
    y = random.integers(0, 3, 360)
    x = (random.normal(size=(360, 4)) * 0.3 + np.eye(3, 4)[y] * 2).astype(np.float32)
    path = tmp_path_factory.mktemp("data") / "rows.npz"
    np.savez(path, x_train=x[:300], y_train=y[:300], x_test=x[300:], y_test=y[300:])
    return path


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new network 4-8-6-3."""
    path = tmp_path_factory.mktemp("small") / "small.ckpt"
    new([4], LAYERS, path, recipe=Recipe(), seed=1)
    return path


@pytest.fixture(scope="session")
def foreign(new_network: type[Any], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a maker of plain TensorFlow networks 4-8-6-3, with a given op after each hidden layer."""
    made: dict[tuple[str, bool], Path] = {}

    def make(kind: str, functional: bool = False) -> Path:
        if (kind, functional) not in made:
            made[kind, functional] = _written(new_network(), kind, functional, tmp_path_factory.mktemp(kind))
        return made[kind, functional]

    return make


def _written(network: Any, kind: str, functional: bool, folder: Path) -> Path:
    with network.building(functional):
        layer, labels, training = network.inputs()
        for number, units in enumerate((8, 6), start=1):
            layer = network.dense(layer, units, f"hidden{number}")
            if kind == "batch_norm":
                layer = network.batch_norm(layer, training, f"hidden{number}/norm")
            elif kind == "dropout":
                layer = network.dropout(layer, training, f"dropout{number}")
            else:
                layer *= network.tf.random.uniform(network.tf.shape(layer), seed=3)
        logits = network.dense(layer, 3, "outputs", relu=False)
        network.classify(logits, labels, network.v1.train.GradientDescentOptimizer(0.1))
    path: Path = network.save(folder / "foreign.ckpt")
    return path


SIGNS = {"read": "<", "written": ">", "sharded": "+"}


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the results of tests/formats/test_table.py: a line for each dtype, a column for each format."""
    reports = [report for report in terminalreporter.getreports("passed") if "test_table.py::" in report.nodeid]
    found = {
        (kind, name): dtypes
        for report in reports
        if report.when == "call"
        for kind, (name, dtypes) in report.user_properties
    }
    if found:
        terminalreporter.section("formats")
        terminalreporter.write_line(
            "< its library writes and we read, > we write and it reads, + in several files: scalar, empty, 1-D, 5-D\n"
            "- refused, . held, but its library has no form for it"
        )
        for line in _table(found):
            terminalreporter.write_line(line)


def _table(found: dict[tuple[str, str], Any]) -> Iterator[str]:
    names = list(dict.fromkeys(name for _, name in found))
    dtypes = list(dict.fromkeys(dtype for held in found.values() for dtype in held))
    yield " ".join([" " * 13, *names])
    for dtype in dtypes:
        cells = [_cell(found, name, dtype).ljust(len(name)) for name in names]
        yield " ".join([dtype.ljust(13), *cells]).rstrip()


def _cell(found: dict[tuple[str, str], Any], name: str, dtype: str) -> str:
    if dtype in found.get(("refused", name), ()):
        return "-"
    return "".join(sign for kind, sign in SIGNS.items() if dtype in found.get((kind, name), ())) or "."
