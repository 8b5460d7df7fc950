"""Adapters merged into weights: compared with a plain computation of base and change, with PEFT's and kohya's names."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError, CorruptCheckpoint, FormatError, MissingFile, PlanError, UnknownName
from ckpttool.core.tensors import Tensor
from ckpttool.surgery.adapters import config as configs
from ckpttool.surgery.adapters.adapter import Adapter
from ckpttool.surgery.adapters.changes import LowRank
from ckpttool.surgery.adapters.config import AdapterConfig
from ckpttool.surgery.edits import FoldAdapter
from ckpttool.surgery.edits.steps import Step, apply

RANK, ALPHA = 2, 8


@pytest.fixture
def base(tmp_path):
    generator = torch.Generator().manual_seed(1)
    shapes = {
        "layers.0.q_proj.weight": (6, 4),
        "layers.0.q_proj.bias": (6,),
        "layers.1.q_proj.weight": (6, 4),
        "conv.weight": (5, 3, 2, 2),
        "embed.weight": (9, 4),
        "head.weight": (2, 6),
    }
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    save_file(tensors, tmp_path / "base.safetensors")
    return tensors


def adapter_in(folder, tensors, **config):
    folder.mkdir(exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "adapter_model.safetensors")
    if config:
        document = {"peft_type": "LORA", "lora_alpha": ALPHA, "r": RANK} | config
        (folder / "adapter_config.json").write_text(json.dumps(document))
    return folder


def factors(module, out=6, inputs=4, rank=RANK):
    generator = torch.Generator().manual_seed(len(module))
    down, up = torch.randn(rank, inputs, generator=generator), torch.randn(out, rank, generator=generator)
    root = f"base_model.model.{module}"
    return {f"{root}.lora_A.weight": down, f"{root}.lora_B.weight": up}, up @ down


def folded(tmp_path, adapter, text=None):
    opened = checkpoint.open(tmp_path / "base.safetensors")
    edited = apply(opened, [Step("fold-adapter", text or str(adapter))]).tensors
    return {name: tensor.read() for name, tensor in edited.items()}


def changed(found, base):
    return {name for name in base if not np.array_equal(found[name], base[name].numpy())}


def test_lora_is_added_with_its_scale_and_nothing_else_changes(base, tmp_path):
    tensors, product = factors("layers.0.q_proj")
    found = folded(tmp_path, adapter_in(tmp_path / "ad", tensors, fan_in_fan_out=False))
    expected = base["layers.0.q_proj.weight"] + ALPHA / RANK * product
    assert np.allclose(found["layers.0.q_proj.weight"], expected, rtol=0, atol=1e-6)
    assert changed(found, base) == {"layers.0.q_proj.weight"}


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({"use_rslora": True}, ALPHA / RANK**0.5),
        ({"alpha_pattern": {"q_proj": 3}}, 3 / RANK),
        ({"alpha_pattern": {"layers.1.*": 3}}, ALPHA / RANK),
        ({"rank_pattern": {"q_proj": RANK}}, ALPHA / RANK),
        ({}, 1.0),
    ],
)
def test_what_scales_it(base, tmp_path, config, scale):
    tensors, product = factors("layers.0.q_proj")
    found = folded(tmp_path, adapter_in(tmp_path / "ad", tensors, **config))
    assert np.allclose(found["layers.0.q_proj.weight"], base["layers.0.q_proj.weight"] + scale * product, atol=1e-5)


def test_a_scale_of_ones_own(base, tmp_path):
    tensors, product = factors("layers.0.q_proj")
    adapter = adapter_in(tmp_path / "ad", tensors, bias="none")
    found = folded(tmp_path, adapter, f"{adapter}=-0.5")
    expected = base["layers.0.q_proj.weight"] - 0.5 * ALPHA / RANK * product
    assert np.allclose(found["layers.0.q_proj.weight"], expected, atol=1e-5)


def test_what_is_folded_in_twice_with_opposite_signs_is_as_before(base, tmp_path):
    tensors, _ = factors("layers.0.q_proj")
    adapter = adapter_in(tmp_path / "ad", tensors, bias="none")
    opened = checkpoint.open(tmp_path / "base.safetensors")
    there = apply(opened, [Step("fold-adapter", str(adapter)), Step("fold-adapter", f"{adapter}=-1")]).tensors
    assert np.allclose(there["layers.0.q_proj.weight"].read(), base["layers.0.q_proj.weight"], atol=1e-5)


def test_weights_that_have_their_inputs_first(tmp_path):
    save_file({"h.c_attn.weight": torch.zeros(4, 6)}, tmp_path / "base.safetensors")
    tensors, product = factors("h.c_attn")
    found = folded(tmp_path, adapter_in(tmp_path / "ad", tensors, fan_in_fan_out=True))
    assert np.allclose(found["h.c_attn.weight"], ALPHA / RANK * product.T, atol=1e-6)


def test_convolutions_and_embeddings(base, tmp_path):
    down, up = torch.randn(RANK, 3, 2, 2), torch.randn(5, RANK, 1, 1)
    rows, columns = torch.randn(RANK, 9), torch.randn(4, RANK)
    root = "base_model.model"
    tensors = {
        f"{root}.conv.lora_A.weight": down,
        f"{root}.conv.lora_B.weight": up,
        f"{root}.embed.lora_embedding_A": rows,
        f"{root}.embed.lora_embedding_B": columns,
    }
    found = folded(tmp_path, adapter_in(tmp_path / "ad", tensors, bias="none"))
    kernel = torch.einsum("or,rihw->oihw", up[:, :, 0, 0], down)
    assert np.allclose(found["conv.weight"], base["conv.weight"] + 4 * kernel, atol=1e-5)
    assert np.allclose(found["embed.weight"], base["embed.weight"] + 4 * (columns @ rows).T, atol=1e-5)


def test_dora(base, tmp_path):
    tensors, product = factors("layers.0.q_proj")
    magnitude = torch.rand(6) + 0.5
    tensors["base_model.model.layers.0.q_proj.lora_magnitude_vector"] = magnitude
    found = folded(tmp_path, adapter_in(tmp_path / "ad", tensors, use_dora=True))
    summed = base["layers.0.q_proj.weight"] + ALPHA / RANK * product
    expected = magnitude[:, None] * summed / torch.linalg.norm(summed, dim=1, keepdim=True)
    assert np.allclose(found["layers.0.q_proj.weight"], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("modules", "inputs"), [(["q_proj"], True), ([], False), (r"layers\.0\..*", True), ("q", False)]
)
def test_ia3(base, tmp_path, modules, inputs):
    vector = torch.rand(1, 4) if inputs else torch.rand(6, 1)
    tensors = {"base_model.model.layers.0.q_proj.ia3_l": vector}
    found = folded(tmp_path, adapter_in(tmp_path / "ad", tensors, peft_type="IA3", feedforward_modules=modules))
    assert np.allclose(found["layers.0.q_proj.weight"], base["layers.0.q_proj.weight"] * vector)
    bias = base["layers.0.q_proj.bias"] * (1 if inputs else vector[:, 0])
    assert np.allclose(found["layers.0.q_proj.bias"], bias)


def test_layers_that_were_trained_whole_take_the_places_of_the_models(base, tmp_path):
    tensors, _ = factors("layers.0.q_proj")
    tensors["base_model.model.head.weight"] = torch.ones(2, 6)
    tensors["base_model.model.layers.0.q_proj.base_layer.bias"] = torch.ones(6)
    found = folded(tmp_path, adapter_in(tmp_path / "ad", tensors, modules_to_save=["head"]))
    assert changed(found, base) == {"layers.0.q_proj.weight", "layers.0.q_proj.bias", "head.weight"}
    assert found["head.weight"].tolist() == [[1] * 6] * 2


@pytest.mark.parametrize(("down", "up"), [((0, 4), (6, 0)), ((), (6, 1)), ((1, 4), ()), ((1, 0), (6, 1))])
def test_factors_without_numbers_are_refused(base, tmp_path, down, up):
    root = "base_model.model.layers.0.q_proj"
    tensors = {f"{root}.lora_A.weight": torch.zeros(down), f"{root}.lora_B.weight": torch.zeros(up)}
    with pytest.raises(FormatError, match=r"a factor of layers.0.q_proj is \[.*\], which is not a matrix"):
        folded(tmp_path, adapter_in(tmp_path / "ad", tensors, bias="none"))


@pytest.mark.parametrize("alpha", [torch.ones(7), torch.ones(0), torch.ones(2, 2)])
def test_an_alpha_that_is_no_number_is_refused(base, tmp_path, alpha):
    root = "lora_unet_layers_0_q_proj"
    tensors = {f"{root}.lora_down.weight": torch.ones(2, 4), f"{root}.lora_up.weight": torch.ones(6, 2)}
    save_file({**tensors, f"{root}.alpha": alpha}, tmp_path / "kohya.safetensors")
    with pytest.raises(FormatError, match=r"the alpha of .*q_proj is float32 \[.*\], expected a number"):
        folded(tmp_path, tmp_path / "kohya.safetensors")


def test_an_alpha_that_is_damaged_is_said_to_be_damaged(base, tmp_path):
    root = "lora_unet_layers_0_q_proj"
    tensors = {f"{root}.lora_down.weight": torch.ones(2, 4), f"{root}.lora_up.weight": torch.ones(6, 2)}
    torch.save({**tensors, f"{root}.alpha": torch.tensor(1234.5)}, tmp_path / "kohya.pt")
    whole, value = (tmp_path / "kohya.pt").read_bytes(), np.float32(1234.5).tobytes()
    assert whole.count(value) == 1
    (tmp_path / "kohya.pt").write_bytes(whole.replace(value, np.float32(1234.25).tobytes()))
    with pytest.raises(CorruptCheckpoint, match="checksum"):
        folded(tmp_path, tmp_path / "kohya.pt")


def test_a_vector_of_ia3_that_is_none_is_refused(base, tmp_path):
    tensors = {"base_model.model.layers.0.q_proj.ia3_l": torch.tensor(1.0)}
    with pytest.raises(FormatError, match=r"a factor of layers.0.q_proj is"):
        folded(tmp_path, adapter_in(tmp_path / "ad", tensors, peft_type="IA3"))


def test_kohyas_names_and_alphas(base, tmp_path):
    down, up = torch.randn(RANK, 4), torch.randn(6, RANK)
    root = "lora_unet_layers_0_q_proj"
    tensors = {f"{root}.lora_down.weight": down, f"{root}.lora_up.weight": up, f"{root}.alpha": torch.tensor(1.0)}
    save_file(tensors, tmp_path / "kohya.safetensors")
    found = folded(tmp_path, tmp_path / "kohya.safetensors")
    expected = base["layers.0.q_proj.weight"] + up @ down / RANK
    assert np.allclose(found["layers.0.q_proj.weight"], expected, atol=1e-5)


def test_a_model_within_another_is_found_by_the_end_of_its_names(tmp_path):
    save_file({"bert.layer.q.weight": torch.zeros(6, 4)}, tmp_path / "base.safetensors")
    tensors, product = factors("layer.q")
    found = folded(tmp_path, adapter_in(tmp_path / "ad", tensors, bias="none"))
    assert np.allclose(found["bert.layer.q.weight"], 4 * product, atol=1e-5)


def test_an_adapter_within_another_model_is_found_by_the_end_of_its_names(base, tmp_path):
    tensors, product = factors("model.layers.0.q_proj")
    found = folded(tmp_path, adapter_in(tmp_path / "ad", tensors, bias="none"))
    assert np.allclose(found["layers.0.q_proj.weight"], base["layers.0.q_proj.weight"] + 4 * product, atol=1e-5)
    save_file({"weight": torch.zeros(6, 4)}, tmp_path / "base.safetensors")
    with pytest.raises(UnknownName, match=r"no tensor matches the adapter's model\.layers\.0\.q_proj\.weight"):
        folded(tmp_path, tmp_path / "ad")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_weights_keep_their_dtype(tmp_path, dtype):
    weight = torch.randn(6, 4).to(dtype)
    save_file({"q.weight": weight}, tmp_path / "base.safetensors")
    tensors, product = factors("q")
    opened = checkpoint.open(tmp_path / "base.safetensors")
    edited = FoldAdapter(str(adapter_in(tmp_path / "ad", tensors, bias="none"))).apply(opened)["q.weight"]
    wide = weight.double() if dtype is torch.float64 else weight.float()
    expected = (wide + 4 * product.to(wide.dtype)).to(dtype)
    assert edited.dtype.name == str(dtype).removeprefix("torch.")
    assert np.allclose(edited.read().astype(np.float64), expected.double().numpy(), rtol=2**-7, atol=1e-6)


@pytest.mark.parametrize(("dtype", "factor"), [(np.float64, 1 / 3), (np.float32, 300.0)])
def test_a_change_is_computed_in_float32_or_float64(dtype, factor):
    """Neither a third as float64, nor the product of two float16 over their limit, is rounded to fewer digits."""
    up, down = Tensor.of("up", np.float16([[300]])), Tensor.of("down", np.float16([[300]]))
    changed = LowRank(up, down, 1.0).on(Tensor.of("w", np.array([[factor]], dtype))).read()
    assert (changed.dtype, changed.tolist()) == (dtype, [[90_000 + factor]])


@pytest.mark.parametrize(("shape", "inputs"), [((1, 4), True), ((6, 1), False)])
def test_ia3_without_a_configuration_scales_what_its_shape_says(base, tmp_path, shape, inputs):
    vector = torch.rand(shape) + 1
    save_file({"base_model.model.layers.0.q_proj.ia3_l": vector}, tmp_path / "ia3.safetensors")
    found = folded(tmp_path, tmp_path / "ia3.safetensors")
    assert np.allclose(found["layers.0.q_proj.weight"], base["layers.0.q_proj.weight"] * vector)
    assert ("layers.0.q_proj.bias" in changed(found, base)) is not inputs


def test_ia3_scales_a_vector_along_its_only_axis(tmp_path):
    save_file({"norm.weight": torch.ones(4)}, tmp_path / "base.safetensors")
    tensors = {"base_model.model.norm.ia3_l": torch.arange(4.0).reshape(1, 4)}
    adapter = adapter_in(tmp_path / "ad", tensors, peft_type="IA3", feedforward_modules=["norm"])
    assert folded(tmp_path, adapter)["norm.weight"].tolist() == [0, 1, 2, 3]


def misfits():
    """Yield the weight that each adapter does not fit, its other parts and the message."""
    q, root = "layers.0.q_proj", "base_model.model"
    lora = f"{root}.{q}.lora_A.weight", f"{root}.{q}.lora_B.weight"
    yield (
        q,
        dict(zip(lora, (torch.ones(2, 4), torch.ones(6, 3)), strict=True)),
        r"lora_B.weight \[6, 3\] times .*\[2, 4\]",
    )
    kernel = {
        f"{root}.conv.lora_A.weight": torch.ones(2, 3, 2, 2),
        f"{root}.conv.lora_B.weight": torch.ones(5, 2, 3, 1),
    }
    yield "conv", kernel, r"lora_B.weight \[5, 2, 3, 1\] times"
    rows = {f"{root}.embed.lora_embedding_A": torch.ones(2, 8), f"{root}.embed.lora_embedding_B": torch.ones(4, 2)}
    yield "embed", rows, r"lora_embedding_B \[4, 2\] times .*\[2, 8\], transposed,"
    yield q, {f"{root}.{q}.ia3_l": torch.ones(1, 3)}, r"ia3_l \[1, 3\] does not fit the inputs of"
    yield q, {f"{root}.{q}.ia3_l": torch.ones(4, 1)}, r"ia3_l \[4, 1\] does not fit the outputs of"
    yield "scale", {f"{root}.scale.ia3_l": torch.ones(1, 1)}, r"ia3_l \[1, 1\] does not fit the inputs of"


@pytest.mark.parametrize(("module", "tensors", "message"), list(misfits()), ids=range(6))
def test_factors_and_vectors_that_do_not_fit_are_refused_before_a_number_is_read(
    base, tmp_path, module, tensors, message
):
    save_file({**base, "scale.weight": torch.tensor(2.0)}, tmp_path / "base.safetensors")
    save_file(tensors, tmp_path / "ad.safetensors")
    with pytest.raises(PlanError, match=rf"{message}.* {module}\.weight, which is \["):
        FoldAdapter(str(tmp_path / "ad.safetensors")).apply(checkpoint.open(tmp_path / "base.safetensors"))


def test_the_lineage_names_the_adapter(base, tmp_path):
    tensors, _ = factors("layers.0.q_proj")
    adapter = adapter_in(tmp_path / "ad", tensors, bias="none")
    edited = apply(checkpoint.open(tmp_path / "base.safetensors"), [Step("fold-adapter", str(adapter))]).tensors
    assert [file.path.name for file in edited.provenance.files] == ["base.safetensors", "adapter_model.safetensors"]
    assert edited.provenance.edits == (f"fold-adapter {adapter}",)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            lambda t: {"base_model.model.nothing.lora_A.weight": torch.zeros(2, 4)},
            UnknownName,
            "the adapter's nothing.weight",
        ),
        (lambda t: dict(list(t.items())[:1]), PlanError, r"layers.0.q_proj has lora_A, but no lora_B"),
        (
            lambda t: {name: torch.zeros(2, 2) for name in t},
            PlanError,
            r"does not fit layers.0.q_proj.weight, which is",
        ),
        (lambda t: {**t, "base_model.model.other.weight": torch.zeros(2)}, UnknownName, "the adapter's other.weight"),
        (lambda t: {**t, "base_model.model.head.weight": torch.zeros(2)}, PlanError, r"is \[2\], head.weight \[2, 6\]"),
        (lambda t: {"x": torch.zeros(2)}, FormatError, "no tensor is named like a part of LoRA, DoRA or IA3: x"),
        (
            lambda t: {n.replace("layers.0.", ""): v for n, v in t.items()},
            PlanError,
            r"matches several tensors: layers.0.q_proj.weight, ",
        ),
    ],
)
def test_what_finds_no_place_is_refused(base, tmp_path, change, error, message):
    tensors, _ = factors("layers.0.q_proj")
    with pytest.raises(error, match=message):
        folded(tmp_path, adapter_in(tmp_path / "ad", change(tensors), bias="none"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"peft_type": "LOHA"}', r"^\S+adapter_config\.json: peft_type is 'LOHA'; known: LORA, IA3"),
        (" " * 301, r"adapter_config\.json has 301 bytes, at most 300 are read"),
        ("{", "is not a configuration of an adapter"),
        ("[1]", "is not a configuration of an adapter"),
        ('{"peft_type": "LORA", "lora_alpha": "x"}', "is not a configuration of an adapter"),
        ('{"peft_type": "LORA", "alpha_pattern": [1]}', "is not a configuration of an adapter"),
        ('{"peft_type": "LORA", "lora_alpha": 1' + "0" * 400 + "}", "is not a configuration of an adapter"),
        ('{"peft_type": "LORA", "alpha_pattern": {"q": 1' + "0" * 400 + "}}", "is not a configuration of an adapter"),
    ],
)
def test_configurations_that_are_none(base, tmp_path, monkeypatch, text, message):
    monkeypatch.setattr(configs, "LARGEST", max(300, len(text.strip())))
    tensors, _ = factors("layers.0.q_proj")
    folder = adapter_in(tmp_path / "ad", tensors)
    (folder / "adapter_config.json").write_text(text)
    with pytest.raises(FormatError, match=message):
        Adapter.open(folder)


def test_patterns_of_strangers_take_no_time_without_end():
    with pytest.raises(CkptError, match="could take years"):
        AdapterConfig(alpha=1, alphas={"(a+)+b": 2}).scale_of("a" * 50, 1)


def test_a_folder_without_an_adapter(base, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingFile, match=r"has no adapter_model\.safetensors and no adapter_model\.bin"):
        folded(tmp_path, tmp_path / "empty")


def test_integers_are_not_changed(tmp_path):
    save_file({"q.weight": torch.zeros(6, 4, dtype=torch.int8)}, tmp_path / "base.safetensors")
    tensors, _ = factors("q")
    with pytest.raises(PlanError, match=r"q.weight has int8 elements, which an adapter does not change"):
        folded(tmp_path, adapter_in(tmp_path / "ad", tensors, bias="none"))
