"""Query, key and value split and fused: PyTorch's and the libraries' own formulas are the references."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import CkptError, PlanError, UnknownName
from ckpttool.surgery.edits.splitting import FuseParts, SplitParts

HEADS, SIZE, WIDTH = 4, 2, 8


def values(ckpt: Checkpoint) -> dict[str, np.ndarray]:
    return {name: tensor.read() for name, tensor in ckpt.items()}


def timm(weight: torch.Tensor) -> list[torch.Tensor]:
    """timm's Attention: `qkv.reshape(B, N, 3, heads, size).permute(2, 0, 3, 1, 4)`, one after the other."""
    return list(weight.reshape(3, HEADS * SIZE, *weight.shape[1:]).unbind(0))


def gpt_neox(weight: torch.Tensor) -> list[torch.Tensor]:
    """GPTNeoXAttention: `qkv.view(..., heads, 3 * size)`, then `chunk(3, dim=-1)`; BLOOM: `view(heads, 3, size)`."""
    parts = weight.view(HEADS, 3 * SIZE, *weight.shape[1:]).chunk(3, dim=1)
    return [part.reshape(HEADS * SIZE, *weight.shape[1:]) for part in parts]


@pytest.mark.parametrize(("referee", "heads"), [(timm, ""), (gpt_neox, f", heads={HEADS}")])
def test_projections_are_split_as_libraries_do_and_fused_again(
    referee: Callable[[torch.Tensor], list[torch.Tensor]], heads: str
) -> None:
    torch.manual_seed(0)
    joined = {"h.0.attn.qkv.weight": torch.randn(3 * WIDTH, 5), "h.0.attn.qkv.bias": torch.randn(3 * WIDTH)}
    ckpt = Checkpoint.of(
        {name: tensor.numpy() for name, tensor in joined.items()} | {"h.0.mlp.weight": np.ones((2, 2))}
    )
    split = SplitParts.parse(f".*qkv=q,k,v, axis=0{heads}").apply(ckpt)
    assert len(split) == 7
    for name, tensor in joined.items():
        for part, expected in zip("qkv", referee(tensor), strict=True):
            np.testing.assert_array_equal(split[name.replace("qkv", part)].read(), expected.numpy())
    fused = FuseParts.parse(f".*attn=q,k,v=>qkv, axis=0{heads}").apply(split)
    assert list(fused) == list(ckpt)
    assert all(np.array_equal(array, ckpt[name].read()) for name, array in values(fused).items())


def test_gpt_2_has_its_inputs_first_and_torch_s_attention_no_layer() -> None:
    weight = np.arange(24, dtype=np.float32).reshape(2, 12)
    split = SplitParts.parse(".*c_attn=q,k,v, axis=-1").apply(Checkpoint.of({"h.0.c_attn.weight": weight}))
    assert [*values(split)] == ["h.0.q.weight", "h.0.k.weight", "h.0.v.weight"]
    np.testing.assert_array_equal(split["h.0.k.weight"].read(), weight[:, 4:8])
    whole = Checkpoint.of({"self_attn.in_proj_weight": weight.T, "self_attn.in_proj_bias": weight[0]})
    text = "(.*)in_proj_weight=q_proj.weight,k_proj.weight,v_proj.weight"
    assert [*SplitParts.parse(text).apply(whole)][:2] == ["self_attn.q_proj.weight", "self_attn.k_proj.weight"]


def test_grouped_queries_have_sizes_of_their_own() -> None:
    """Falcon: for each group its queries, one key, one value; Phi-3: all queries, all keys, all values."""
    torch.manual_seed(0)
    groups, queries = 2, 3
    weight = torch.randn(groups * (queries + 2) * SIZE, 5)
    view = weight.view(groups, queries + 2, SIZE, 5)
    expected = {"q": view[:, :-2], "k": view[:, [-2]], "v": view[:, [-1]]}
    ckpt = Checkpoint.of({"query_key_value.weight": weight.numpy()})
    split = SplitParts.parse(f"query_key_value=q,k,v, heads={groups}, sizes={queries * SIZE}:{SIZE}:{SIZE}").apply(ckpt)
    for part, tensor in expected.items():
        np.testing.assert_array_equal(split[f"{part}.weight"].read(), tensor.reshape(-1, 5).numpy())
    again = FuseParts.parse(f".*=q,k,v=>query_key_value, heads={groups}").apply(split)
    np.testing.assert_array_equal(again["query_key_value.weight"].read(), weight.numpy())
    plain = SplitParts.parse("query_key_value=q,k,v, sizes=12:4:4").apply(ckpt)
    np.testing.assert_array_equal(plain["k.weight"].read(), weight[12:16].numpy())


QKV = Checkpoint.of({"a.qkv.weight": np.zeros((6, 2)), "a.q.bias": np.zeros(2), "a.k.bias": np.zeros(3, np.float32)})


@pytest.mark.parametrize(
    ("edit", "error", "message"),
    [
        (SplitParts.parse("b=q,k,v"), UnknownName, "pattern 'b' matches nothing"),
        (SplitParts.parse(".*qkv=x,y,z,w"), PlanError, r"a.qkv.weight is \[6, 2\]: axis 0 does not divide into 4 "
        "equal parts"),
        (SplitParts.parse(".*qkv=x,y,z,heads=4"), PlanError, "not divide into 3 equal parts in each of 4 heads"),
        (SplitParts.parse(".*qkv=x,y,axis=2"), PlanError, "has no axis 2"),
        (SplitParts.parse(".*qkv=x,y,sizes=4:1"), PlanError, "sizes 4:1 do not divide axis 0 into 2 parts"),
        (SplitParts.parse(".*qkv=x,y,sizes=2:2:2"), PlanError, "sizes 2:2:2 do not divide axis 0 into 2 parts"),
        (SplitParts.parse("a.q=k,y"), PlanError, "a.k.bias would be there twice"),
        (FuseParts.parse(".*=q,k,v=>qkv"), PlanError, "a.qkv.bias needs v, but there is only a.q.bias, a.k.bias"),
        (FuseParts.parse(".*=q,k=>qkv"), PlanError, r"float64 \[2\], a.k.bias float32 \[3\] cannot be fused"),
        (FuseParts.parse("b=q,k,v=>qkv"), UnknownName, "no scope that 'b' matches has q, k, v"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(edit: SplitParts | FuseParts, error: type[CkptError], message: str) -> None:
    with pytest.raises(error, match=message):
        edit.apply(QKV)


@pytest.mark.parametrize(
    "text",
    [
        "qkv",
        "=q,k",
        "qkv=q",
        "qkv=q,q",
        "qkv=q,,k",
        "qkv=q,k,axis=x",
        "qkv=q,k,axes=0",
        "qkv=q,k,heads=0",
        "qkv=q,k,axis=0:1",
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(PlanError):
        SplitParts.parse(text)
    with pytest.raises(PlanError):
        FuseParts.parse(f"{text}=>")


def test_slots_do_not_go_along() -> None:
    ckpt = Checkpoint.of({"qkv/kernel": np.zeros((2, 6)), "qkv/kernel/Adam": np.zeros((2, 6))})
    with pytest.raises(PlanError, match="qkv/kernel/Adam is a slot of what is split"):
        SplitParts.parse("qkv=q,k,v,axis=1").apply(ckpt)
