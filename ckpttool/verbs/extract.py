"""Extract: a low-rank adapter from the change between a base and a tuned model, in PEFT's format."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckpttool import checkpoint
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.counts import counted
from ckpttool.core.errors import PlanError
from ckpttool.core.names import FARTHEST, layer_of, listed
from ckpttool.core.notebooks import ShownPlan
from ckpttool.core.notes import notes_about
from ckpttool.core.patterns import Pattern
from ckpttool.core.tensors import Tensor
from ckpttool.formats.format import Writing
from ckpttool.formats.writing.files import refuse_existing, refuse_existing_folder, replacing, replacing_folder
from ckpttool.lineage.provenance import Command, Provenance
from ckpttool.model.resolve import described, open_checkpoint
from ckpttool.surgery.adapters.config import CONFIG, METADATA, WEIGHTS
from ckpttool.surgery.adapters.extracting import Factors, configuration, factors, moved

ROOT = "base_model.model."
"""The prefix of PEFT before the names of the model."""
ENERGY = 0.99
"""The fraction of a change's energy that a sufficient rank represents."""
_EMBEDDING = re.compile(r"(.*[._])?(w[tp]e|\w*emb\w*)", re.IGNORECASE)
_WEIGHT = ".weight"


@dataclass(frozen=True)
class ExtractRow:
    """A changed tensor: its factors' rank, error and the sufficient rank, or how it is stored instead."""

    name: str
    shape: tuple[int, ...]
    then: str
    rank: int | None = None
    error: float | None = None
    enough: int | None = None
    of: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the row as JSON."""
        return {**vars(self), "shape": list(self.shape)}

    def cells(self) -> dict[str, Any]:
        """Return the row as displayed."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "rank": self.rank,
            "error": None if self.error is None else f"{self.error:.2%}",
            "enough": None if self.enough is None else f"{self.enough} of {self.of}",
            "then": self.then,
        }


@dataclass(frozen=True, repr=False)
class ExtractPlan(ShownPlan):
    """The adapter to write: its tensors, PEFT's configuration, and a row for each changed tensor."""

    tensors: Checkpoint
    config: dict[str, Any]
    rows: Sequence[ExtractRow]
    notes: Sequence[str]

    @property
    def done(self) -> str:
        """A statement about the written output."""
        nbytes = sum(spec.nbytes for spec in self.tensors.specs())
        errors = [row.error for row in self.rows if row.error is not None]
        worst = f", errors of at most {max(errors):.2%}" if errors else ""
        return f"written and read back, {counted(len(self.tensors), 'tensor')} ({counted(nbytes, 'byte')}){worst}"

    def as_json(self) -> list[dict[str, Any]]:
        """Return the plan as JSON."""
        return [row.as_json() for row in self.rows]

    def check(self, output: str | Path, overwrite: bool = False) -> None:
        """Check that the output can be written: a safetensors file, else a folder.

        Raises:
            ExistingOutput: it exists.
        """
        if _is_file(Path(output)):
            refuse_existing([Path(output)], overwrite)
        else:
            refuse_existing_folder(Path(output), overwrite, lambda folder: (folder / CONFIG).is_file())

    def write(self, output: str | Path, overwrite: bool = False, command: Command | None = None) -> None:
        """Write the adapter atomically, and read it back; a file has the configuration in its metadata.

        Raises:
            ExistingOutput: it exists.
        """
        self.check(output, overwrite)
        path = Path(output)
        command = command or Command.of_call("extract", self.tensors.path, output)
        how = Writing(metadata={"format": "pt", METADATA: json.dumps(self.config)})
        if _is_file(path):
            checkpoint.save(self.tensors, path, "safetensors", overwrite, how, command)
            return
        with replacing_folder(path) as folder:
            checkpoint.save(self.tensors, folder / WEIGHTS[0], "safetensors", False, how, command)
            with replacing(folder / CONFIG) as file:
                file.write(json.dumps(self.config, indent=2).encode() + b"\n")


def _is_file(path: Path) -> bool:
    return path.suffix == ".safetensors"


def plan_extract(
    base: Path,
    tuned: Path,
    *,
    rank: int | None = None,
    energy: float = ENERGY,
    layers: str | None = None,
    whole: bool = False,
    fan_in_fan_out: bool | None = None,
    lenient: bool = False,
) -> ExtractPlan:
    """Plan what `extract` writes; changed tensors are read and decomposed one at a time.

    Args:
        base: The base model.
        tuned: The tuned model.
        rank: The maximum rank of each product; None for the one with the fraction `energy` of its change.
        energy: The fraction, which also determines the sufficient rank.
        layers: A pattern of the weights to compare.
        whole: Whether to store changed tensors that are not matrices as a whole, with the others of their layer.
        fan_in_fan_out: Whether kernels have their inputs first; None if names and biases determine it.
        lenient: Whether to skip changed tensors that are not matrices, and tensors in one of the models only.

    Raises:
        UnknownName: the pattern matches nothing.
        PlanError: nothing changed, or a change cannot be stored in an adapter, or is non-finite.
    """
    notes: list[str] = []
    one, other = (described(open_checkpoint(path), notes.append) for path in (base, tuned))
    if layers is not None:
        taken = set(Pattern(layers).select([*one, *(name for name in other if name not in one)]))
        one, other = one.only(taken), other.only(taken)
    found = moved(one, other)
    _refuse(found.missing, {} if whole else found.others, lenient)
    if not found.matrices:
        lacking = f"; {found.missing[0]}" if found.missing else ""
        raise PlanError(f"{tuned}: no matrix is another one than in {base}{_others(found.others)}{lacking}")
    if fan_in_fan_out is None:
        fan_in_fan_out = _has_inputs_first(one, found.matrices)
    made: dict[str, Factors] = {}
    rows: list[ExtractRow] = []
    for name in found.matrices:
        if each := factors(one[name], other[name], rank, energy, fan_in_fan_out or _is_embedding(name)):
            made[_module(name)] = each
            rows.append(ExtractRow(name, each.shape, "factors", each.rank, each.error, each.enough, each.of))
    stored = _stored_whole(other, found.others, made) if whole else {}
    fate = "stored whole" if whole else "skipped"
    rows += [ExtractRow(name, other[name].shape, f"{fate}: {why}") for name, why in found.others.items()]
    notes += notes_about("skipped", () if whole else found.others)
    notes += notes_about("skipped", found.missing)
    notes += [f"{counted(found.same, 'tensor is', 'tensors are')} the same in both"]
    biases = any(name.endswith(".bias") for name in stored)
    modules = dict.fromkeys(layer_of(name.removeprefix(ROOT)) for name in stored if not name.endswith(".bias"))
    config = configuration(made, tuple(modules), biases, fan_in_fan_out, str(base))
    tensors = Checkpoint.of({**_named(made), **stored}, Provenance.joined(one.provenance, other.provenance))
    return ExtractPlan(tensors, config, tuple(rows), tuple(notes))


def _refuse(missing: Sequence[str], others: dict[str, str], lenient: bool) -> None:
    """Raise an error for changes that an adapter cannot store, unless they are to be skipped."""
    if lenient or not (missing or others):
        return
    first = missing[0] if missing else ""
    if not missing:
        count = counted(len(others), "tensor that moved is not a matrix", "tensors that moved are not matrices")
        first = f"{count}: {listed(list(others), 3)}; `whole` stores them whole"
    raise PlanError(f"{first}; `lenient` omits such tensors; the adapter then does not reproduce the tuned model")


def _others(others: dict[str, str]) -> str:
    return f"; what moved is {listed(list(others), 3)}" if others else ""


def _has_inputs_first(base: Checkpoint, matrices: Sequence[str]) -> bool:
    """Return whether kernels have their inputs first: as in TensorFlow and Keras, or by biases, as in GPT-2's Conv1D.

    Raises:
        PlanError: some do, and some do not.
    """
    if not any(name.endswith(_WEIGHT) for name in matrices):
        return True
    sides: dict[bool, str] = {}
    for name in matrices:
        shape, bias = base[name].shape, base.get(f"{_module(name)}.bias")
        if len(shape) == 2 and shape[0] != shape[1] and bias is not None and bias.shape in ((shape[0],), (shape[1],)):
            sides[bias.shape == shape[1:]] = name
    if len(sides) > 1:
        raise PlanError(
            f"by its bias {sides[True]} has its inputs first, {sides[False]} its outputs: an adapter has one of the "
            "two for all (`fan_in_fan_out`); `layers` takes those of one kind"
        )
    return True in sides


def _module(name: str) -> str:
    """Return the name of a weight's layer in an adapter; a weight that PyTorch would not have keeps its own name."""
    return name.removesuffix(_WEIGHT)


def _is_embedding(name: str) -> bool:
    """Return whether PEFT takes a layer for an embedding, whose factors are in the other order.

    >>> _is_embedding("transformer.wte.weight"), _is_embedding("model.embed_tokens.weight"), _is_embedding("fc.weight")
    (True, True, False)
    """
    layer = name.removesuffix(_WEIGHT)
    return layer != name and len(name) < FARTHEST and _EMBEDDING.fullmatch(layer) is not None


def _named(made: dict[str, Factors]) -> dict[str, Tensor]:
    """Return factors under PEFT's names."""
    tensors: dict[str, Tensor] = {}
    for module, each in made.items():
        part, end = ("lora_embedding_", "") if _is_embedding(each.name) else ("lora_", _WEIGHT)
        for side, array in (("A", each.down), ("B", each.up)):
            name = f"{ROOT}{module}.{part}{side}{end}"
            tensors[name] = Tensor.of(name, array)
    return tensors


def _stored_whole(tuned: Checkpoint, others: dict[str, str], made: dict[str, Factors]) -> dict[str, Tensor]:
    """Return changed tensors that are not matrices under PEFT's names: biases alone, others with their whole layer."""
    names: dict[str, str] = {}
    for name in others:
        layer = layer_of(name)
        if name.endswith(".bias"):
            names[f"{ROOT}{layer}{'.base_layer' if layer in made else ''}.bias"] = name
        else:
            own = [name] if layer in made else [each for each in tuned if layer_of(each) == layer]
            names |= {f"{ROOT}{each}": each for each in own if _module(each) not in made}
    return {new: tuned[name].renamed(new) for new, name in names.items()}
