"""Unsupported files: identifies them by their first bytes or names, and suggests how to convert them.

A remedy is a command if there is one; `FILE`, `FOLDER` and `OUT` in it are replaced by the file, its folder and an
output.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ckpttool.remote import sparse_files

HEAD = 4096
"""The number of bytes at the beginning of a file that are examined."""
PLAIN = re.compile(r"[\w./+-]+")
"""A path that needs no quotes in a command."""
COMPILED = "use the model that it was made from, of ONNX, PyTorch or TensorFlow"
PICKLED = "{k: v for k, v in (m if isinstance(m, dict) else vars(m)).items() if isinstance(v, numpy.ndarray)}"


class Kind(NamedTuple):
    """A kind of file: its description, the remedy, and regular expressions for its name and its first bytes."""

    what: str
    remedy: str
    names: str = r"(?!)"
    head: bytes = rb"(?!)"

    def takes(self, name: str, head: bytes) -> bool:
        """Return whether a file with this name and these first bytes is of this kind."""
        return bool(re.search(self.names, name) or re.match(self.head, head, re.DOTALL))


def _run(program: str) -> str:
    return f'`python -c "{program}"`'


KINDS = (
    Kind(
        "a web page, which a server may have sent in place of a file",
        "download the file",
        head=rb"(?i)\s*<(!doctype|html)",
    ),
    Kind(
        "a model of Core ML",
        _run(
            "import coremltools as ct, numpy; m = ct.models.MLModel('FILE', skip_model_load=True); w = "
            "ct.optimize.coreml.get_weights_metadata(m, weight_threshold=1); "
            "numpy.savez('OUT.npz', **{k: w[k].val for k in w})"
        ),
        names=r"\.(mlmodel|mlpackage)$",
    ),
    Kind(
        "weights of PaddlePaddle",
        _run("import paddle, numpy; numpy.savez('OUT.npz', **{k: v.numpy() for k, v in paddle.load('FILE').items()})"),
        names=r"\.(pdparams|pdopt)$",
    ),
    Kind(
        "a part of a program of PaddlePaddle",
        "`paddle2onnx --model_dir FOLDER --model_filename OUT.pdmodel --params_filename OUT.pdiparams "
        "--save_file OUT.onnx`",
        names=r"\.(pdmodel|pdiparams)$",
    ),
    Kind(
        "parameters of MXNet",
        _run(
            "import mxnet, numpy; numpy.savez('OUT.npz', **{k: v.asnumpy() for k, v in mxnet.nd.load('FILE').items()})"
        ),
        head=rb"\x12\x01\0\0\0\0\0\0",
    ),
    Kind(
        "a model of OpenVINO",
        _run(
            "import openvino, numpy; ops = openvino.Core().read_model('FILE').get_ops(); numpy.savez('OUT.npz', "
            "**{c.get_friendly_name(): c.data for c in ops if c.get_type_name() == 'Constant'})"
        ),
        head=rb"\s*<\?xml.{0,200}<net\s",
    ),
    Kind("a compiled engine of TensorRT", COMPILED, names=r"\.(engine|trt|plan)$", head=rb"[fp]trt"),
    Kind("a program of ExecuTorch", COMPILED, names=r"\.pte$", head=rb".{4}ET\d\d"),
    Kind("a model of ncnn", COMPILED, head=rb"7767517\s"),
    Kind("a model that was compiled for a device", COMPILED, names=r"\.(rknn|mnn|hef|tnnmodel|nb|om)$"),
    Kind("a program of JAX or StableHLO", "save its parameters instead", head=rb".{0,4000}?ML\xefR"),
    Kind(
        "a model of CNTK",
        _run("import cntk; cntk.Function.load('FILE').save('OUT.onnx', format=cntk.ModelFormat.ONNX)"),
        names=r"\.(cntk|dnn)$",
        head=rb"B\0C\0N\0",
    ),
    Kind(
        "a file of llama.cpp from before GGUF",
        "llama.cpp's `python convert_llama_ggml_to_gguf.py --input FILE --output OUT.gguf`",
        head=rb"(tjgg|fmgg|lmgg|algg)",
    ),
    Kind(
        "a file of MATLAB 5 to 7",
        _run(
            "import numpy, scipy.io; m = scipy.io.loadmat('FILE'); "
            "numpy.savez('OUT.npz', **{k: m[k] for k in m if k[0] != '_'})"
        ),
        head=rb"MATLAB 5\.0 MAT-file",
    ),
    Kind(
        "vectors of fastText",
        _run(
            "import gensim.models.fasttext as fasttext, numpy; v = fasttext.load_facebook_vectors('FILE'); "
            "numpy.savez('OUT.npz', vectors=v.vectors)"
        ),
        head=rb"\xba\x16\x4f\x2f",
    ),
    Kind("a file of Torch 7", "the package `torchfile` reads it, `numpy.savez` saves its arrays", names=r"\.t7$"),
    Kind(
        "a network of Deeplearning4j",
        "in Java, `ModelSerializer.restoreMultiLayerNetwork` and `paramTable()` give its arrays, `Nd4j.writeAsNumpy` "
        "makes a .npy of each",
        head=rb"PK\x03\x04.{26}(configuration\.json|coefficients\.bin)",
    ),
    Kind(
        "trees, which have no tensors",
        "there is nothing to convert",
        head=rb'(CBM1|tree\r?\nversion=|\{"learner"|\{L.{8}learner)',
    ),
)
ALONE = (
    Kind(
        "the layers of a Keras network without weights",
        "specify the .h5 with its weights",
        head=rb'\s*(\{.*?"class_name":|.*?\bclass_name:)\s*"?(Sequential|Model|Functional)\b',
    ),
    Kind(
        "the configuration of a model of Hugging Face",
        "specify its folder, or the file with its weights",
        head=rb'\s*\{.*"(architectures|model_type)"\s*:',
    ),
    Kind(
        "the layers of a network of Caffe without weights",
        "specify the .caffemodel with its weights",
        names=r"\.prototxt$",
    ),
    Kind(
        "the layers of a network of Darknet without weights",
        "specify the .weights file",
        head=rb"(\s*[#;][^\n]*\n)*\s*\[net(work)?\]",
    ),
    Kind(
        "a file of a model of TensorFlow.js",
        "specify the model.json beside it",
        names=r"^group\d+-shard\d+of\d+(\.bin)?$",
    ),
    Kind(
        "a picture",
        "a folder of pictures is read as rows, where a command takes `data`",
        head=rb"\xff\xd8\xff|\x89PNG\r\n|GIF8[79]a|RIFF.{4}WEBP",
    ),
    Kind("a log of TensorBoard", "it has no weights: specify the checkpoint of the run", names=r"tfevents\."),
)
"""Files of a model that do not contain its weights."""
PACKED = (
    Kind("packed by gzip", "`gunzip FILE` unpacks it", head=rb"\x1f\x8b"),
    Kind("packed by Zstandard", "`zstd -d FILE` unpacks it", head=rb"\x28\xb5\x2f\xfd"),
    Kind("packed by xz", "`unxz FILE` unpacks it", head=rb"\xfd7zXZ\0"),
    Kind("packed by bzip2", "`bunzip2 FILE` unpacks it", head=rb"BZh[1-9]"),
    Kind("an archive of 7-Zip", "`7z x FILE` unpacks it", head=rb"7z\xbc\xaf\x27\x1c"),
    Kind("a tar archive", "`tar -xf FILE` unpacks it", head=rb".{257}ustar"),
    Kind("a zip archive of other files", "`unzip FILE` unpacks it", head=rb"PK\x03\x04.{26}[^\0]"),
)
PICKLES = (
    Kind(
        "a file of joblib, as scikit-learn's are",
        "what is in it runs when it is loaded, so if you trust who made it: "
        + _run(f"import joblib, numpy; m = joblib.load('FILE'); numpy.savez('OUT.npz', **{PICKLED})"),
        names=r"\.joblib$",
    ),
    Kind(
        "a pickle of Python objects, as scikit-learn's and Theano's are",
        "what is in it runs when it is loaded, so if you trust who made it: "
        + _run(f"import pickle, numpy; m = pickle.load(open('FILE', 'rb')); numpy.savez('OUT.npz', **{PICKLED})"),
        names=r"\.(pkl|pickle)$",
        head=rb"\x80[\x02-\x05]",
    ),
)
EVERY = (*KINDS, *ALONE, *PICKLES, *PACKED)
"""All kinds, in the order in which they are tried."""


def recognised(path: Path) -> str | None:
    """Return a message with the kind of a file or folder and the remedy, or None if it is unknown.

    >>> recognised(Path("net.mlpackage")).partition(",")[0]
    'is a model of Core ML'
    """
    head = b""
    if path.is_file():
        with sparse_files.opened(path) as file:
            head = file.read(HEAD)
    kind = next((each for each in EVERY if each.takes(path.name, head)), None)
    if kind is None:
        return None
    return f"is {kind.what}, which is not supported: {filled_in(kind.remedy, path)}"


def filled_in(remedy: str, path: Path) -> str:
    """Return a remedy with the paths of a file filled in, unless they would need quotes."""
    names = {"FILE": str(path), "FOLDER": str(path.parent), "OUT": str(path.with_suffix(""))}
    if all(map(PLAIN.fullmatch, names.values())):
        remedy = re.sub("FILE|FOLDER|OUT", lambda found: names[found[0]], remedy)
    return remedy


def rows() -> Iterator[tuple[str, str]]:
    """Yield the descriptions of all kinds and their remedies, for a table."""
    return ((kind.what, kind.remedy) for kind in EVERY)
