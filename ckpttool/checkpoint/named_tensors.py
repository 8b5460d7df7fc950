"""Named tensors: lazy mappings of names to tensors, with their kinds, slots, ties and provenance."""

from collections.abc import Collection, Container, Iterator, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar, overload

from ckpttool.core.counts import counted, human_size
from ckpttool.core.errors import UnknownName
from ckpttool.core.names import listed, scopes
from ckpttool.core.suggestions import suggestion
from ckpttool.core.tensors import Array, Tensor, TensorSpec
from ckpttool.core.variable_kinds import OBJECT_GRAPH, TensorKind, base_name, is_average, kinds
from ckpttool.formats.ties import ties_here
from ckpttool.lineage.provenance import UNKNOWN, Provenance

Default = TypeVar("Default")


class NamedTensors(Mapping[str, Tensor]):
    """A lazy mapping of names to tensors, with their kinds and provenance; methods return the same class.

    >>> import numpy as np
    >>> tensors = NamedTensors.of({"hidden1/bias": np.zeros(3, np.float32), "global_step": np.array(7)})
    >>> list(tensors), tensors.kinds()
    (['hidden1/bias', 'global_step'], {'hidden1/bias': 'weight', 'global_step': 'step'})
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        path: Path | None = None,
        *,
        format: str | None = None,  # noqa: A002
        metadata: Mapping[str, str] | None = None,
        left_out: tuple[str, ...] = (),
        origins: Mapping[str, str] | None = None,
        stated: Mapping[str, TensorKind] | None = None,
        provenance: Provenance = UNKNOWN,
        owners: Mapping[str, str] | None = None,
        averages: Collection[str] = (),
    ) -> None:
        """Wrap tensors, with the path and format of their file.

        `origins` maps names here to those in the file, where they differ; `left_out` names what the file contains
        besides. `stated` maps names in the file to kinds that the file or a graph beside it states, and `owners` slots
        to their variables; `averages` are the slots that are moving averages. `provenance` has the source files and
        edits, which edited checkpoints keep and `save` writes.
        """
        self._tensors = tensors
        self.path = path
        self.format = format
        self.metadata = dict(metadata or {})
        self.left_out = left_out
        self.origins = dict(origins or {})
        self.provenance = provenance
        self._stated = dict(stated or {})
        self._owners = dict(owners or {})
        self._averages = frozenset(averages)

    @classmethod
    def of(cls, values: Mapping[str, Tensor | Array], provenance: Provenance = UNKNOWN) -> Self:
        """Return a checkpoint of arrays or tensors in memory."""
        return cls(as_tensors(values), provenance=provenance)

    def __getitem__(self, name: str) -> Tensor:
        try:
            return self._tensors[name]
        except KeyError:
            source = f"{self.path}: " if self.path else ""
            below = [each for each in self._tensors if each.startswith((f"{name}/", f"{name}."))]
            if below:
                layer = f"{name!r} is a layer, whose tensors are {listed(below)}"
                raise UnknownName(f"{source}{layer}; `select` selects them") from None
            raise UnknownName(f"{source}no tensor named {name}{suggestion(name, self._tensors)}") from None

    @overload
    def get(self, name: str, /) -> Tensor | None: ...

    @overload
    def get(self, name: str, default: Tensor | Default, /) -> Tensor | Default: ...

    def get(self, name: str, default: Any = None, /) -> Any:
        """Return a tensor, or the default; without the search for similar names that `[]` does for its error."""
        return self._tensors.get(name, default)

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __repr__(self) -> str:
        specs = self.specs()
        parameters = f"{sum(spec.elements for spec in specs):,} numbers"
        size = human_size(sum(spec.nbytes for spec in specs))
        source = f" {self.path}" if self.path else ""
        return f"<Checkpoint{source}: {counted(len(specs), 'tensor')}, {parameters}, {size}>"

    def _repr_html_(self) -> str:
        """Return an HTML table of the layers for notebooks: tensors, sizes, and histograms of the weights."""
        from ckpttool.checkpoint.layer_rows import layer_rows
        from ckpttool.core.notebooks import html_table

        weights = [name for name, kind in self.kinds().items() if kind == "weight" and name != OBJECT_GRAPH]
        layers = {layer: [self[name] for name in names] for layer, names in scopes(weights).items()}
        others = len(self) - len(weights)
        notes = [f"{counted(others, 'tensor')} more: slots, step counters"] if others else []
        return html_table(layer_rows(layers), repr(self).strip("<>"), notes)

    def specs(self) -> list[TensorSpec]:
        """Return the name, shape and dtype of every tensor, without reading values."""
        return [tensor.spec for tensor in self._tensors.values()]

    def kinds(self) -> dict[str, TensorKind]:
        """Return each tensor's kind, as stated by the file, else inferred from the name."""
        stated = {name: self._stated.get(self.origins.get(name, name)) for name in self}
        return {name: stated[name] or kind for name, kind in kinds(self).items()}

    def owners(self) -> dict[str, str]:
        """Return a mapping of slots to their variables, as stated by a graph, else inferred from the names in the file.

        >>> import numpy as np
        >>> names = ["fc/kernel", "Adam/m/fc/kernel", "step"]
        >>> NamedTensors.of(dict.fromkeys(names, np.zeros(2))).owners()
        {'Adam/m/fc/kernel': 'fc/kernel'}
        """
        here = {self.origins.get(name, name): name for name in self}
        slots = {self.origins.get(name, name): name for name, kind in self.kinds().items() if kind == "slot"}
        bases = {slot: self._owners.get(origin) or base_name(origin, here) for origin, slot in slots.items()}
        return {slot: here[base] for slot, base in bases.items() if base is not None and base in here}

    def averages(self) -> dict[str, str]:
        """Return a mapping of the slots that are moving averages to the variables that they average."""
        names = {name: self.origins.get(name, name) for name in self}
        return {
            slot: owner
            for slot, owner in self.owners().items()
            if names[slot] in self._averages or is_average(names[slot])
        }

    def described(
        self, kinds: Mapping[str, TensorKind], owners: Mapping[str, str], averages: Collection[str] = ()
    ) -> Self:
        """Return a copy with known kinds, the variables of slots, and the slots that are moving averages.

        Names are those here, not those in the file.
        """
        names = {name: self.origins.get(name, name) for name in self}
        same = self.holding(self._tensors)
        same._stated = self._stated | {names[name]: kind for name, kind in kinds.items() if name in names}
        known = {names[slot]: names[owner] for slot, owner in owners.items() if slot in names and owner in names}
        same._owners = self._owners | known
        same._averages = self._averages.union(names[slot] for slot in averages if slot in names)
        return same

    def ties(self) -> dict[str, str]:
        """Return a mapping of tied tensors to the tensor whose values they share, such as a head to its embedding.

        >>> import numpy as np
        >>> both = dict.fromkeys(["embed.weight", "head.weight"], np.zeros((3, 2)))
        >>> NamedTensors(NamedTensors.of(both), metadata={"head.weight": "embed.weight"}).ties()
        {'head.weight': 'embed.weight'}
        """
        known = ties_here(self.metadata, self.origins, self)
        specs = {name: (self[name].shape, self[name].dtype) for name in [*known, *known.values()]}
        return {alias: kept for alias, kept in known.items() if specs[alias] == specs[kept]}

    @property
    def framework(self) -> str | None:
        """The framework whose layouts the tensors have, as stated by the file or its lineage; None if unknown."""
        return self.provenance.framework

    def only(self, names: Container[str]) -> Self:
        """Return a checkpoint of the tensors with these names."""
        return self.holding({name: tensor for name, tensor in self.items() if name in names})

    def holding(self, tensors: Mapping[str, Tensor], names: Mapping[str, str] | None = None) -> Self:
        """Return a checkpoint of the same file with other tensors; `names` maps new names to those here, if renamed."""
        here = {new: (names or {}).get(new, new) for new in tensors}
        origins = {new: self.origins.get(old, old) for new, old in here.items()}
        origins = {new: old for new, old in origins.items() if new != old}
        return type(self)(
            tensors,
            self.path,
            format=self.format,
            metadata=self.metadata,
            left_out=self.left_out,
            origins=origins,
            stated=self._stated,
            provenance=self.provenance,
            owners=self._owners,
            averages=self._averages,
        )

    def after(self, edit: str, step: Mapping[str, Any] | None = None) -> Self:
        """Return a copy whose lineage has one more edit, made by this step of a plan."""
        return self.made_of(self.provenance.then(edit, step))

    def made_of(self, provenance: Provenance) -> Self:
        """Return a copy with another provenance."""
        same = self.holding(self._tensors)
        same.provenance = provenance
        return same


def as_tensors(values: Mapping[str, Any]) -> Mapping[str, Tensor]:
    """Convert a mapping of arrays to one of tensors with the same names."""
    if isinstance(values, NamedTensors):
        return values
    return {name: v.renamed(name) if isinstance(v, Tensor) else Tensor.of(name, v) for name, v in values.items()}
