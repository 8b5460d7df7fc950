"""The command line's edits as methods: all exist, have the same results, are lazy, and are recorded in the lineage."""

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import CkptError, PlanError, UnknownName
from ckpttool.core.tensors import Tensor
from ckpttool.surgery.edits import EDITS
from ckpttool.surgery.edits.steps import Step
from ckpttool.verbs.log import History

KERNEL = np.arange(6, dtype=np.float32).reshape(2, 3)
VALUES = {
    "net/fc/kernel": KERNEL,
    "net/fc/kernel/Adam": np.ones_like(KERNEL),
    "net/fc/bias": np.array([1, -2, 3], np.float32),
    "net/fc/bias/ExponentialMovingAverage": np.zeros(3, np.float32),
}
NORM = {f"bn1.{part}": np.ones(2) for part in ("weight", "bias", "running_mean", "running_var")}
CONV = {"conv1.weight": np.ones((2, 1, 3, 3)), **NORM}
PARTS = {"fc.weight_g": np.full((1, 1), 5.0), "fc.weight_v": np.array([[3.0, 4.0]])}
FUSED = {"h.0.qkv.weight": np.arange(12.0).reshape(2, 6)}
APART = {f"h.0.{part}.weight": np.full((2, 2), number) for number, part in enumerate("qkv")}
SMALL = {"fc/kernel": np.array([[-127, 64]], np.int8), "fc/kernel/scale": np.array(0.5, np.float32)}
KERNELS = "net/fc/kernel"
CALLS = {
    "keep": (VALUES, lambda ckpt: ckpt.keep("net/fc/bias"), "net/fc/bias"),
    "drop": (VALUES, lambda ckpt: ckpt.drop(KERNELS), KERNELS),
    "drop-slots": (VALUES, lambda ckpt: ckpt.drop_slots(), ""),
    "rename": (VALUES, lambda ckpt: ckpt.rename({"net/(.*)": r"own/\1"}), r"net/(.*)=>own/\1"),
    "copy": (VALUES, lambda ckpt: ckpt.copy(KERNELS, "again"), f"{KERNELS}=>again"),
    "add-prefix": (VALUES, lambda ckpt: ckpt.add_prefix("model"), "model"),
    "strip-prefix": (VALUES, lambda ckpt: ckpt.strip_prefix("net"), "net"),
    "cast": (VALUES, lambda ckpt: ckpt.cast("float16", KERNELS), f"{KERNELS}=float16"),
    "transpose": (VALUES, lambda ckpt: ckpt.transpose(KERNELS, (1, 0)), f"{KERNELS}=1,0"),
    "reshape": (VALUES, lambda ckpt: ckpt.reshape(KERNELS, (3, -1)), f"{KERNELS}=3,-1"),
    "slice": (VALUES, lambda ckpt: ckpt.slice(KERNELS, 1, stop=2), f"{KERNELS}=1::2"),
    "pad": (VALUES, lambda ckpt: ckpt.pad(KERNELS, 0, after=2, value=0.5), f"{KERNELS}=0:0,2:0.5"),
    "resize": (VALUES, lambda ckpt: ckpt.resize(KERNELS, 4, axis=1), f"{KERNELS} = to(4, axis=1)"),
    "reduce": (VALUES, lambda ckpt: ckpt.reduce(KERNELS, "mean", 0, keep=False), f"{KERNELS}=mean(axis=0, keep=False)"),
    "split-parts": (FUSED, lambda ckpt: ckpt.split_parts(".*qkv", "qkv", axis=-1), ".*qkv=q,k,v,axis=-1"),
    "fuse-parts": (APART, lambda ckpt: ckpt.fuse_parts(".*", ["q", "k", "v"], "qkv"), ".*=q,k,v=>qkv"),
    "layout": (CONV, lambda ckpt: ckpt.layout("conv1.weight", "conv"), "conv1.weight=conv"),
    "layout-back": (VALUES, lambda ckpt: ckpt.drop_slots().layout_back(KERNELS, "dense"), f"{KERNELS}=dense"),
    "prune": (VALUES, lambda ckpt: ckpt.prune(KERNELS, below=2), f"{KERNELS}=magnitude(2)"),
    "scale": (VALUES, lambda ckpt: ckpt.scale(KERNELS, 0.1), f"{KERNELS}=0.1"),
    "clamp": (VALUES, lambda ckpt: ckpt.clamp(KERNELS, -np.inf, 2), f"{KERNELS}=-inf,2"),
    "set": (VALUES, lambda ckpt: ckpt.set("net/fc/bias", -1.5), "net/fc/bias=-1.5"),
    "ema": (VALUES, lambda ckpt: ckpt.ema(), ""),
    "quantise": (VALUES, lambda ckpt: ckpt.quantise("int8", KERNELS), f"{KERNELS}=int8"),
    "dequantise": (SMALL, lambda ckpt: ckpt.dequantise("float32"), "float32"),
    "fold-batch-norm": (
        CONV,
        lambda ckpt: ckpt.fold_batch_norm(r"conv(\d)", r"bn\1", epsilon=0.5),
        r"conv(\d)=bn\1, epsilon=0.5",
    ),
    "fold-parametrisations": (PARTS, lambda ckpt: ckpt.fold_parametrisations(), ""),
}


def values(ckpt):
    return {name: (tensor.shape, str(tensor.dtype), tensor.read().tobytes()) for name, tensor in ckpt.items()}


def test_every_edit_is_a_method():
    assert [name for name in EDITS if not callable(getattr(Checkpoint, name.replace("-", "_"), None))] == []
    assert set(CALLS) | {"fold-adapter"} == set(EDITS)


@pytest.mark.parametrize("name", CALLS)
def test_a_method_does_what_its_edit_does(name):
    arrays, call, text = CALLS[name]
    ckpt = Checkpoint.of(arrays)
    begun = ckpt.drop_slots() if name == "layout-back" else ckpt
    assert values(call(ckpt)) == values(Step(name, text).apply(begun, {})[0])


def test_an_adapter_is_folded(tmp_path):
    lora = {"lora_up.weight": np.ones((2, 1)), "lora_down.weight": np.ones((1, 3)), "alpha": np.array(1.0)}
    checkpoint.save({f"lora_unet_fc.{part}": value for part, value in lora.items()}, tmp_path / "lora=1.safetensors")
    folded = Checkpoint.of({"fc.weight": np.zeros((2, 3))}).fold_adapter(tmp_path / "lora=1.safetensors")
    assert folded["fc.weight"].read().tolist() == [[1.0] * 3] * 2


def test_nothing_is_read_before_a_tensor_is():
    def read():
        raise AssertionError("read")

    spec = Tensor.of("fc/kernel", KERNEL).spec
    ckpt = Checkpoint.of({"fc/kernel": Tensor(spec, read)}).transpose("fc/kernel", (1, 0)).scale("fc/kernel", 2)
    assert ckpt["fc/kernel"].shape == (3, 2)
    with pytest.raises(AssertionError, match="read"):
        ckpt["fc/kernel"].read()


def test_slots_count_where_they_are_asked_for():
    ckpt = Checkpoint.of(VALUES)
    assert ckpt.scale(".*", 2)["net/fc/kernel/Adam"].read()[0, 0] == 1
    assert ckpt.scale(".*", 2, slots=True)["net/fc/kernel/Adam"].read()[0, 0] == 2


def test_what_is_saved_says_which_methods_made_it(tmp_path):
    checkpoint.save(VALUES, tmp_path / "a.npz")
    made = checkpoint.open(tmp_path / "a.npz").drop_slots().scale("net", 0.5).copy(KERNELS, "again")
    checkpoint.save(made, tmp_path / "b.npz")
    (record,) = History.of(tmp_path / "b.npz").chain.records
    assert record.steps == ("drop-slots", "scale net=0.5", f"copy {KERNELS}=>again")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda ckpt: ckpt.edit("scael", "fc=1"), UnknownName, "no edit is named scael; nearest: scale"),
        (lambda ckpt: ckpt.scale("nett", 1), UnknownName, "scale nett=1: pattern 'nett' matches nothing; nearest: net"),
        (lambda ckpt: ckpt.clamp("net", 2, 1), PlanError, "clamp net=2,1: no number is between 2 and 1"),
        (lambda ckpt: ckpt.prune("net"), PlanError, "`prune` requires either `share`"),
        (lambda ckpt: ckpt.fold_batch_norm("conv"), PlanError, "specify pairs together"),
        (lambda ckpt: ckpt.resize(KERNELS, 1), PlanError, "would be lost"),
        (lambda ckpt: ckpt.fold_adapter("none"), CkptError, "none"),
        (lambda ckpt: ckpt.reduce(KERNELS, "max", 0), CkptError, "max"),
    ],
)
def test_mistakes_name_the_edit(call, error, message):
    with pytest.raises(error, match=message.replace("(", r"\(")):
        call(Checkpoint.of(VALUES))
