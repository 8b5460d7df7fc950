"""Checkpoints: mappings of names to tensors, which are read when asked, and views made of views."""

from collections.abc import Callable, Collection, Container, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, overload

from ckpttool.core.counts import counted
from ckpttool.core.errors import CkptError, UnknownName
from ckpttool.core.names import Pattern, listed, renamed, scopes, suggestion
from ckpttool.core.tensors import BY_NAME, Array, Tensor, TensorSpec, human_size
from ckpttool.core.variable_kinds import OBJECT_GRAPH, TensorKind, base_name, is_average, kinds
from ckpttool.formats import registry
from ckpttool.formats.format import PLAIN, Format, Tensors, Writing
from ckpttool.formats.reading.unmixed import unmixed
from ckpttool.formats.reading.url_files import local
from ckpttool.formats.tensorflow.prefix import prefix_of
from ckpttool.formats.ties import ties_here
from ckpttool.lineage.output import staged_output
from ckpttool.lineage.provenance import KEY, UNKNOWN, Command, Provenance, SourceFile, carried
from ckpttool.remote.paths import refuse_url

__all__ = ["Checkpoint", "open", "prefix_of", "save"]

Default = TypeVar("Default")


class Checkpoint(Mapping[str, Tensor]):
    r"""Named tensors. Every view is a checkpoint too; nothing is read before a tensor is.

    >>> import numpy as np
    >>> ckpt = Checkpoint.of({"hidden1/bias": np.zeros(3, np.float32), "outputs/bias": np.zeros(2, np.float32)})
    >>> list(ckpt.select("hidden1").rename({"hidden(.)": r"layer\1"}))
    ['layer1/bias']
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        path: Path | None = None,
        format: str | None = None,  # noqa: A002
        metadata: Mapping[str, str] | None = None,
        left_out: tuple[str, ...] = (),
        origins: Mapping[str, str] | None = None,
        stated: Mapping[str, TensorKind] | None = None,
        provenance: Provenance = UNKNOWN,
        owners: Mapping[str, str] | None = None,
        averages: Collection[str] = (),
    ) -> None:
        """Wrap tensors; the rest says where they are from, under which names if others, and what else is there.

        `stated` has the kinds that the file or a graph beside it says, by the names there, and `owners` the variables
        of slots, of which some are `averages`; `provenance` the files that they were made of, which views keep and
        `save` writes.
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
    def of(cls, values: Mapping[str, Tensor | Array], provenance: Provenance = UNKNOWN) -> "Checkpoint":
        """Make a checkpoint of arrays (or tensors) in memory."""
        return cls(_as_tensors(values), provenance=provenance)

    def __getitem__(self, name: str) -> Tensor:
        try:
            return self._tensors[name]
        except KeyError:
            source = f"{self.path}: " if self.path else ""
            below = [each for each in self._tensors if each.startswith((f"{name}/", f"{name}."))]
            if below:
                layer = f"{name!r} is a layer, whose tensors are {listed(below)}"
                raise UnknownName(f"{source}{layer}; `select` takes them") from None
            raise UnknownName(f"{source}no tensor named {name}{suggestion(name, self._tensors)}") from None

    @overload
    def get(self, name: str, /) -> Tensor | None: ...

    @overload
    def get(self, name: str, default: Tensor | Default, /) -> Tensor | Default: ...

    def get(self, name: str, default: Any = None, /) -> Any:
        """Return a tensor, or the default; no names are suggested for one that is not there, which would take long."""
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
        """Return the layers as a table, for a notebook: their tensors, sizes, and histograms of their weights."""
        from ckpttool.core.notebooks import html_table, layer_rows

        weights = [name for name, kind in self.kinds().items() if kind == "weight" and name != OBJECT_GRAPH]
        layers = {layer: [self[name] for name in names] for layer, names in scopes(weights).items()}
        others = len(self) - len(weights)
        notes = [f"{counted(others, 'tensor')} besides: slots, step counters"] if others else []
        return html_table(layer_rows(layers), repr(self).strip("<>"), notes)

    def specs(self) -> list[TensorSpec]:
        """Return name, shape and dtype of every tensor, without reading any."""
        return [tensor.spec for tensor in self._tensors.values()]

    def kinds(self) -> dict[str, TensorKind]:
        """Return each tensor's kind: what the file says of it, else what its name does."""
        stated = {name: self._stated.get(self.origins.get(name, name)) for name in self}
        return {name: stated[name] or kind for name, kind in kinds(self).items()}

    def owners(self) -> dict[str, str]:
        """Return the variable of each slot: what a graph says, else what both are named in the file.

        >>> import numpy as np
        >>> names = ["fc/kernel", "Adam/m/fc/kernel", "step"]
        >>> Checkpoint.of(dict.fromkeys(names, np.zeros(2))).owners()
        {'Adam/m/fc/kernel': 'fc/kernel'}
        """
        here = {self.origins.get(name, name): name for name in self}
        slots = {self.origins.get(name, name): name for name, kind in self.kinds().items() if kind == "slot"}
        bases = {slot: self._owners.get(origin) or base_name(origin, here) for origin, slot in slots.items()}
        return {slot: here[base] for slot, base in bases.items() if base is not None and base in here}

    def averages(self) -> dict[str, str]:
        """Return the slots that are moving averages of their variables' values, each with its variable."""
        names = {name: self.origins.get(name, name) for name in self}
        return {
            slot: owner
            for slot, owner in self.owners().items()
            if names[slot] in self._averages or is_average(names[slot])
        }

    def described(
        self, kinds: Mapping[str, TensorKind], owners: Mapping[str, str], averages: Collection[str] = ()
    ) -> "Checkpoint":
        """Return the same tensors with what is known of them: kinds, slots' variables, which slots are averages.

        All by the names here.
        """
        names = {name: self.origins.get(name, name) for name in self}
        same = self.holding(self._tensors)
        same._stated = self._stated | {names[name]: kind for name, kind in kinds.items() if name in names}
        known = {names[slot]: names[owner] for slot, owner in owners.items() if slot in names and owner in names}
        same._owners = self._owners | known
        same._averages = self._averages.union(names[slot] for slot in averages if slot in names)
        return same

    def select(self, pattern: str) -> "Checkpoint":
        """Keep the tensors that a pattern takes, and the object graph that says where they belong.

        Raises:
            UnknownName: it takes none.
        """
        return self.only({*Pattern(pattern).select(self), OBJECT_GRAPH}).after(f"keep {pattern}")

    def drop(self, pattern: str) -> "Checkpoint":
        """Leave out the tensors that a pattern takes.

        Raises:
            UnknownName: it takes none.
        """
        return self.only(set(self).difference(Pattern(pattern).select(self))).after(f"drop {pattern}")

    def ties(self) -> dict[str, str]:
        """Return the tensors that are another one again, as PyTorch ties a head to its embedding, each with that one.

        >>> import numpy as np
        >>> both = dict.fromkeys(["embed.weight", "head.weight"], np.zeros((3, 2)))
        >>> Checkpoint(Checkpoint.of(both), metadata={"head.weight": "embed.weight"}).ties()
        {'head.weight': 'embed.weight'}
        """
        known = ties_here(self.metadata, self.origins, self)
        specs = {name: (self[name].shape, self[name].dtype) for name in [*known, *known.values()]}
        return {alias: kept for alias, kept in known.items() if specs[alias] == specs[kept]}

    @property
    def framework(self) -> str | None:
        """The framework that arranged the tensors, as the file or its lineage says; None where nothing does."""
        return self.provenance.framework

    def only(self, names: Container[str]) -> "Checkpoint":
        """Keep the tensors of these names."""
        return self._view({name: name for name in self if name in names})

    def rename(self, rules: Mapping[str, str]) -> "Checkpoint":
        r"""Give tensors new names: each rule's pattern matches whole components from the root, `\1` is its group.

        A name takes the first rule that matches it; what follows the match is kept. `{"hidden(.)": r"layer\1"}` makes
        `layer1/kernel` of `hidden1/kernel`. An object graph keeps its own name, and is written with the new ones.

        Raises:
            UnknownName: a rule matches nothing.
            PlanError: two tensors would have one name; the message has both.
            CkptError: a pattern or a replacement is not a regular expression's.
        """
        kept = {OBJECT_GRAPH: OBJECT_GRAPH} if OBJECT_GRAPH in self else {}
        view = self._view(renamed([name for name in self if name not in kept], rules) | kept)
        return view.after(f"rename {', '.join(f'{pattern}=>{new}' for pattern, new in rules.items())}")

    def cast(self, dtype: str) -> "Checkpoint":
        """Give every weight and slot of numbers (integers, floats) another dtype, checked when it is read.

        Strings, booleans, complex and quantised numbers stay, and so do step counters, which few dtypes could hold.

        Raises:
            CkptError: no such dtype; on reading, a number that it cannot hold.
        """
        from ckpttool.core.casting import cast_tensor

        if dtype not in BY_NAME:
            raise CkptError(f"no dtype is named {dtype!r}; there are {', '.join(BY_NAME)}")
        kept = {name for name, kind in self.kinds().items() if kind not in ("weight", "slot")}
        change = {name: name for name in self}
        view = self._view(change, lambda t: t if t.name in kept else cast_tensor(t, BY_NAME[dtype]))
        return view.after(f"cast {dtype}")

    def holding(self, tensors: Mapping[str, Tensor], names: Mapping[str, str] | None = None) -> "Checkpoint":
        """Return a checkpoint of the same file with other tensors; `names` has the names here of those renamed."""
        here = {new: (names or {}).get(new, new) for new in tensors}
        origins = {new: self.origins.get(old, old) for new, old in here.items()}
        origins = {new: old for new, old in origins.items() if new != old}
        about = (self.path, self.format, self.metadata, self.left_out, origins, self._stated)
        return Checkpoint(tensors, *about, self.provenance, self._owners, self._averages)

    def after(self, edit: str) -> "Checkpoint":
        """Return the same tensors; what is saved of them says that this edit was made."""
        return self.made_of(self.provenance.then(edit))

    def made_of(self, provenance: Provenance) -> "Checkpoint":
        """Return the same tensors; what is saved of them says that they were made of this."""
        same = self.holding(self._tensors)
        same.provenance = provenance
        return same

    def _view(self, names: dict[str, str], change: Callable[[Tensor], Tensor] | None = None) -> "Checkpoint":
        return self.holding(_View(self._tensors, names, change), names)


class _View(Mapping[str, Tensor]):
    """Some tensors of a mapping under names of their own, perhaps changed."""

    def __init__(
        self, base: Mapping[str, Tensor], names: dict[str, str], change: Callable[[Tensor], Tensor] | None
    ) -> None:
        self._base = base
        self._names = names
        self._change = change

    def __getitem__(self, name: str) -> Tensor:
        tensor = self._base[self._names[name]]
        if tensor.name != name:
            tensor = tensor.renamed(name)
        return self._change(tensor) if self._change else tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def open(path: Path | str) -> Checkpoint:  # noqa: A001
    """Open a checkpoint: a prefix, one of its files, a folder, a SavedModel, an .npz; or the URL of one.

    Raises:
        MissingFile: nothing is there.
        FormatError: it is not a checkpoint, or one that is not read.
        CorruptCheckpoint: its index is damaged.
        CkptError: a server refuses, or cannot be reached.
    """
    path = local(path)
    format_, tensors = unmixed(path, lambda: _opened(path))
    metadata = {key: text for key, text in tensors.metadata.items() if key != KEY}
    provenance = Provenance((SourceFile.of_checkpoint(path, format_, tensors),))
    about = (prefix_of(path), format_.NAME, metadata, tensors.left_out)
    return Checkpoint(tensors, *about, stated=tensors.kinds, provenance=provenance)


def _opened(path: Path) -> tuple[Format, Tensors]:
    found = registry.find(path)
    return found, found.open(path)


def save(
    tensors: Mapping[str, Tensor] | Mapping[str, Array],
    path: Path | str,
    format: str | None = None,  # noqa: A002
    overwrite: bool = False,
    how: Writing = PLAIN,
    command: Command | None = None,
) -> None:
    """Write tensors or arrays, one at a time, in the format named, or in that of the path's suffix, or as a bundle.

    `how` has what a format leaves open: metadata, a file whose structure to take (and whose format, where neither name
    nor suffix says one), the size of shards. At any moment the old output is there whole, or the new one. What is
    written is read again before it counts. An object graph goes only into a format that has a use for it. The output
    carries its lineage: the files that the tensors were read from, the edits since, and the `command` that makes it.

    Raises:
        ExistingOutput: there is one already and `overwrite` was not given.
        FormatError: the format cannot hold a tensor.
        CkptError: the path is a URL.
    """
    path = Path(path)
    refuse_url(path)
    provenance = UNKNOWN
    if isinstance(tensors, Checkpoint):
        how, provenance = replace(how, source=tensors.path, origins=tensors.origins), tensors.provenance
    target = registry.for_output(path, format, how.like)
    with staged_output(path, target, overwrite) as place, carried(provenance, command, place, target, how) as carrying:
        named = storable(tensors, target) if isinstance(tensors, Checkpoint) else _as_tensors(tensors)
        target.save(named, place, carrying)


def storable(tensors: Checkpoint, target: Format) -> Checkpoint:
    """Return what a format is given of a checkpoint: all but the object graph, if it has no use for one."""
    if target.OBJECT_GRAPH or OBJECT_GRAPH not in tensors:
        return tensors
    return tensors.only(set(tensors) - {OBJECT_GRAPH})


def _as_tensors(values: Mapping[str, Any]) -> dict[str, Tensor] | Mapping[str, Tensor]:
    if isinstance(values, Checkpoint | _View):
        return values
    return {name: v.renamed(name) if isinstance(v, Tensor) else Tensor.of(name, v) for name, v in values.items()}
