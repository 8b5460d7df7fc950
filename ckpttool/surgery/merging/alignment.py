"""Align models of different vocabularies before a merge, so that each token has the same row in all of them.

The rules are those of mergekit's `tokenizer_source`: a token that a model lacks gets the base's row or, if the base
lacks it too, the mean of the rows of the models that have it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal
from weakref import WeakValueDictionary

import numpy as np

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.counts import counted
from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array, Tensor, TensorSpec
from ckpttool.surgery.blocks import ELEMENTS
from ckpttool.surgery.edits.splitting import refuse_slots
from ckpttool.surgery.merging.agreement import JoinedCheckpoints
from ckpttool.surgery.merging.rows import Rows, rows_of, slabs
from ckpttool.surgery.merging.vocabulary import Vocabulary
from ckpttool.surgery.merging.vocabulary_tensors import VocabularyTensors

Tokens = Literal["all", "last"]
"""Which tokens a merged model has: those of all models, the last one's first, or only the last one's."""
NONE = -1
"""The row number of a token that a model lacks."""
SCATTERED = 100
"""Rows per run of consecutive ones below which a tensor's rows are read at random."""


@dataclass(frozen=True)
class Alignment:
    """Aligned models, with their base if any: a row number means the same token in all of them.

    `vocabulary` has the tokens, `axes` the axis of the rows of each aligned tensor, `resized` the tensors with more
    rows than in the last model; `note` counts the tokens by the number of vocabularies that have them.
    """

    models: tuple[Checkpoint, ...]
    base: Checkpoint | None
    vocabulary: Vocabulary
    axes: Mapping[str, int]
    resized: tuple[str, ...]
    note: str

    def on(self, joined: JoinedCheckpoints) -> JoinedCheckpoints:
        """Return the merge result with the vocabulary, the axes in the rows, and the note."""
        along = {name: f", tokens along axis {axis}" for name, axis in self.axes.items()}
        rows = tuple({**row, "then": f"{row['then']}{along.get(row['name'], '')}"} for row in joined.rows)
        notes = (*joined.notes, self.note)
        return replace(joined, rows=rows, notes=notes, vocabulary=self.vocabulary.numbers, resized=self.resized)


def align(
    models: Sequence[Checkpoint],
    vocabularies: Sequence[Vocabulary],
    base: Checkpoint | None = None,
    tokens: Tokens = "all",
    tensors: Sequence[str] = (),
    token_rows: Sequence[str] = (),
) -> Alignment:
    """Return the models, and the base if any, with the rows of all tensors in the order of one vocabulary.

    Args:
        models: The models; the last one's tokens keep their numbers.
        vocabularies: The vocabularies of the models in order, then of the base.
        base: The common base model.
        tokens: Which tokens the result has.
        tensors: Patterns of the tensors with a row per token; by default they are found by size.
        token_rows: Tokens with the model whose row all get, such as `<pad>=1` (the first model) or `<pad>=base`.

    >>> a, b = ({"embed": np.array(rows)} for rows in ([[1.0], [2.0]], [[4.0], [5.0], [6.0]]))
    >>> words = [Vocabulary.of(["the", "cat"]), Vocabulary.of(["a", "cat", "sat"])]
    >>> aligned = align([Checkpoint.of(a), Checkpoint.of(b)], words)
    >>> aligned.vocabulary.numbers
    {'a': 0, 'cat': 1, 'sat': 2, 'the': 3}
    >>> [each["embed"].read().ravel().tolist() for each in aligned.models]
    [[4.0, 2.0, 6.0, 1.0], [4.0, 5.0, 6.0, 1.0]]

    Raises:
        PlanError: the number of vocabularies differs, they do not fit the tensors, or optimizer slots would no longer
            fit.
    """
    checkpoints = [*models, *([] if base is None else [base])]
    if len(vocabularies) != len(checkpoints):
        whose = "each model and the base" if base is not None else "each model"
        raise PlanError(
            f"`vocab` has {len(vocabularies)}, expected {len(checkpoints)}: one for {whose}, in their order"
        )
    last = len(models) - 1
    axes = VocabularyTensors(checkpoints, vocabularies, last).axes(tensors)
    merged = _merged(vocabularies, last, tokens)
    sizes = {name: max(merged.size, models[last][name].shape[axis]) for name, axis in axes.items()}
    resized = tuple(name for name, axis in axes.items() if sizes[name] != models[last][name].shape[axis])
    refuse_slots(models[last], resized, f"aligned to the {len(merged.numbers)} tokens of all")
    new: list[dict[str, Tensor]] = [dict(each) for each in checkpoints]
    found = np.array([[each.numbers.get(token, NONE) for token in merged.numbers] for each in vocabularies])
    at = np.fromiter(merged.numbers.values(), int)
    for token, place in _givers(token_rows, vocabularies, last, base is not None).items():
        if token not in merged.numbers:
            raise PlanError(f"`token_rows`: the result has no token {token!r}, as `tokens` is {tokens}")
        found[np.arange(len(checkpoints)) != place, [*merged.numbers].index(token)] = NONE
    for name, axis in axes.items():
        numbers = np.full((len(checkpoints), sizes[name]), NONE)
        numbers[last, : models[last][name].shape[axis]] = np.arange(models[last][name].shape[axis])
        numbers[:, at] = found  # rows without a token are those of the last model
        together = _Aligned([each[name] for each in checkpoints], axis, numbers, base is not None)
        for place in range(len(checkpoints)):
            new[place][name] = together.tensor(place)
    named = [each.holding(tensors) for each, tensors in zip(checkpoints, new, strict=True)]
    note = _note(vocabularies, merged, last, base is not None)
    return Alignment(tuple(named[: last + 1]), None if base is None else named[-1], merged, axes, resized, note)


def _merged(vocabularies: Sequence[Vocabulary], last: int, tokens: Tokens) -> Vocabulary:
    """Return the vocabulary of the result: the last model's tokens, then the new ones of the others in order."""
    numbers, at = dict(vocabularies[last].numbers), vocabularies[last].size
    others = [each for place, each in enumerate(vocabularies) if place != last and tokens == "all"]
    for token in (token for each in others for token in sorted(each.numbers, key=each.numbers.__getitem__)):
        if numbers.setdefault(token, at) == at:
            at += 1
    return Vocabulary(numbers)


def _givers(given: Sequence[str], vocabularies: Sequence[Vocabulary], last: int, with_base: bool) -> dict[str, int]:
    """Return the place of the model that gives the row of each of some tokens.

    Raises:
        PlanError: a text has no model, the model is not there, or it lacks the token.
    """
    givers: dict[str, int] = {}
    for text in given:
        token, _, whose = text.rpartition("=")
        places = {str(place + 1): place for place in range(last + 1)} | ({"base": last + 1} if with_base else {})
        if not token or whose not in places:
            known = f"1 to {last + 1}{', or base' if with_base else ''}"
            raise PlanError(f"`token_rows` {text!r}: expected TOKEN=MODEL, the number of a model ({known})")
        vocabulary = vocabularies[places[whose]]
        if token not in vocabulary.numbers:
            having = [str(each) for each in vocabularies if token in each.numbers]
            found = f"found in {', '.join(having)}" if having else "nor has any other vocabulary"
            raise PlanError(f"`token_rows` {text!r}: {vocabulary} has no token {token!r}; {found}")
        givers[token] = places[whose]
    return givers


def _note(vocabularies: Sequence[Vocabulary], merged: Vocabulary, last: int, with_base: bool) -> str:
    """Return a note with the number of tokens by vocabularies, and where missing rows come from."""
    having = [sum(token in each.numbers for each in vocabularies) for token in merged.numbers]
    every, alone = having.count(len(vocabularies)), having.count(1)
    counts = {"in all": every, "in some": len(having) - every - alone, "in one alone": alone}
    shown = ", ".join(f"{count} {where}" for where, count in counts.items() if count)
    added = len(merged.numbers) - len(vocabularies[last].numbers)
    lacking = "the mean of those that have it" if not with_base else "the base's, else the mean of those that have it"
    tokens = f"{counted(len(having), 'token')}, {added or 'none'} of them added to the last one's"
    return f"{tokens}: {shown}; a missing row is {lacking}"


class _Aligned:
    """The tensors of one name in all checkpoints, whose rows along an axis are reordered."""

    def __init__(self, tensors: Sequence[Tensor], axis: int, numbers: Array, with_base: bool) -> None:
        self._tensors, self._axis, self._numbers = tensors, axis, numbers
        self._givers = numbers.copy()
        if with_base:
            self._givers[:-1, numbers[-1] != NONE] = NONE
        self._open: WeakValueDictionary[int, Rows] = WeakValueDictionary()

    def tensor(self, place: int) -> Tensor:
        """Return the aligned tensor of one checkpoint, computed when it is read."""
        spec, size = self._tensors[place].spec, self._numbers.shape[1]
        shape = (*spec.shape[: self._axis], size, *spec.shape[self._axis + 1 :])

        def pieces() -> Iterator[memoryview]:
            little = spec.dtype.numpy.newbyteorder("<")
            for block in self._blocks(place):
                yield memoryview(block.astype(little, copy=False).reshape(-1).view(np.uint8).data)

        def read() -> Array:
            blocks = [block.reshape(-1) for block in self._blocks(place)]
            return np.concatenate(blocks).reshape(shape)

        return Tensor(TensorSpec(spec.name, shape, spec.dtype), read, pieces)

    def _blocks(self, place: int) -> Iterator[Array]:
        """Yield consecutive blocks, along the axis if it is the first."""
        wanted = np.arange(self._numbers.shape[1])
        lacking = self._numbers[place] == NONE
        needed = [place, *np.flatnonzero((self._givers[:, lacking] != NONE).any(1))]
        if self._axis == 0:
            yield from self._blocks_of_rows(place, wanted, {each: self._rows(each) for each in needed})
            return
        for parts in zip(*(slabs(self._tensors[each], self._axis) for each in needed), strict=True):
            yield self._assembled(place, wanted, _taking(dict(zip(needed, parts, strict=True))))

    def _blocks_of_rows(self, place: int, wanted: Array, rows: dict[int, Rows]) -> Iterator[Array]:
        columns = self._tensors[place].spec.elements // self._tensors[place].shape[0]
        step = max(1, ELEMENTS // max(1, columns))
        for start in range(0, len(wanted), step):
            yield self._assembled(place, wanted[start : start + step], lambda each, of: rows[each].take(of)[None])
        for each in rows.values():
            each.finish()

    def _rows(self, place: int) -> Rows:
        """Return the rows of a checkpoint's tensor, which is loaded at most once."""
        found = self._open.get(place)
        if found is None:
            own = self._numbers[place]
            scattered = bool(SCATTERED * np.count_nonzero(np.diff(own[own != NONE]) != 1) > len(own))
            found = self._open[place] = rows_of(self._tensors[place], scattered)
        return found

    def _assembled(self, place: int, wanted: Array, take: Callable[[int, Array], Array]) -> Array:
        """Return [count, wanted, columns]: a checkpoint's own rows, and means in place of missing ones."""
        own = self._numbers[place, wanted]
        lacking = own == NONE
        if not lacking.any():
            return take(place, own)
        means = self._means(wanted[lacking], take)
        block = np.empty((means.shape[0], len(wanted), means.shape[2]), self._tensors[place].dtype.numpy)
        block[:, lacking] = means.astype(block.dtype)
        if not lacking.all():
            block[:, ~lacking] = take(place, own[~lacking])
        return block

    def _means(self, wanted: Array, take: Callable[[int, Array], Array]) -> Array:
        """Return the means of the rows of those that give them, summed in float64 in the order of checkpoints."""
        sums: Array | None = None
        counts = np.zeros(len(wanted))
        for place, given in enumerate(self._givers[:, wanted]):
            there = given != NONE
            if not there.any():
                continue
            rows = take(place, given[there])
            if sums is None:
                kind = np.complex128 if rows.dtype.kind == "c" else np.float64
                sums = np.zeros((rows.shape[0], len(wanted), rows.shape[2]), kind)
            sums[:, there] += rows
            counts[there] += 1
        assert sums is not None, "each token is in at least one vocabulary"
        means: Array = sums / counts[:, None]
        return means


def _taking(parts: Mapping[int, Array]) -> Callable[[int, Array], Array]:
    """Return a function that takes rows from the parts [count, rows, columns] of several checkpoints."""

    def take(place: int, rows: Array) -> Array:
        taken: Array = parts[place][:, rows]
        return taken

    return take
