"""The table of edits: what each is called, which function it is, and how its text is read."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, cast

from ckpttool.checkpoint import Checkpoint
from ckpttool.surgery.edits import reading


@dataclass(frozen=True)
class Edit:
    """An edit: where its function is, what reads the text of its value, how help shows it, which settings it heeds."""

    place: str
    read: Callable[[str], dict[str, Any]]
    value: str
    help: str
    heeds: tuple[str, ...] = ()

    @property
    def function(self) -> Callable[..., Checkpoint]:
        """The function, imported when it is used: most edits need NumPy, and renaming does not."""
        module, _, name = self.place.partition(":")
        return cast("Callable[..., Checkpoint]", getattr(import_module(f"ckpttool.surgery.edits.{module}"), name))


_SLOTS = ("slots",)

EDITS = {
    "keep": Edit("names:keep", reading.pattern, "RE", "Keep the tensors that a pattern takes, with their slots."),
    "drop": Edit("names:drop", reading.pattern, "RE", "Leave out the tensors that a pattern takes, with their slots."),
    "drop-slots": Edit("names:drop_slots", reading.nothing, "", "Leave out the optimizer's slots and step counters."),
    "rename": Edit("names:rename", reading.rule, "RE=>NEW", r"New names for whole components: 'hidden(\d)=>fc\1'."),
    "add-prefix": Edit("names:add_prefix", reading.prefix, "SCOPE", "Put a scope before every name."),
    "strip-prefix": Edit("names:strip_prefix", reading.prefix, "SCOPE", "Take a scope off every name."),
    "cast": Edit(
        "values:cast",
        reading.dtype,
        "[RE=]DTYPE",
        "Another dtype: of the weights that are floats, or what RE takes.",
        _SLOTS,
    ),
    "transpose": Edit("shapes:transpose", reading.order, "RE=1,0", "Put dimensions into another order.", _SLOTS),
    "reshape": Edit("shapes:reshape", reading.shape, "RE=784,300", "The same elements in another shape.", _SLOTS),
    "slice": Edit("shapes:take_slice", reading.part, "RE=AXIS:START:STOP", "Keep a part along an axis.", _SLOTS),
    "pad": Edit("shapes:pad", reading.padding, "RE=AXIS:BEFORE,AFTER[:VALUE]", "Put a value around an axis.", _SLOTS),
    "resize": Edit(
        "resizing:resize",
        reading.size,
        "'RE = to(N, axis=0, fill=mean)'",
        "Another size, biases along: fill mean, zeros, normal, rows, rows([0, 1]).",
        ("slots", "allow_truncate", "seed"),
    ),
    "prune": Edit(
        "values:prune", reading.sparsity, "RE=SHARE", "Set the smallest to zero: a share, or magnitude(BOUND).", _SLOTS
    ),
    "set": Edit("values:set_value", reading.value, "NAME=VALUE", "Other numbers: a number, FILE.npy, FILE.npz:KEY."),
    "quantise": Edit(
        "quantising:quantise",
        reading.dtype,
        "[RE=]DTYPE",
        "float16, bfloat16, int8 with NAME/scale (kernels).",
        _SLOTS,
    ),
    "dequantise": Edit("quantising:dequantise", reading.dtype, "[RE=]DTYPE", "Floats of what quantise made int8."),
}
"""Every edit by its name, in the order in which help lists them."""
