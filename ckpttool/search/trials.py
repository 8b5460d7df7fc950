"""Trials: a configuration is trained on a block's rows and judged, as `reuse` and `finetune` would do it.

What all trials share is there once: the model, the rows, the features of each frozen part for all rows, and for each
configuration a trainer whose graph and traced functions serve every block.
"""

import re
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import CkptError, PlanError
from ckpttool.core.names import Pattern
from ckpttool.core.tensors import Array, Tensor
from ckpttool.data.dataset import labelled_split
from ckpttool.data.drawing import Numbers
from ckpttool.data.splits import Split
from ckpttool.graph.contents.stored import chosen_weights, stored_tensors
from ckpttool.graph.freezing.frozen import Frozen
from ckpttool.model.model import Model
from ckpttool.runtime.objectives import Objective
from ckpttool.runtime.state import fresh_tensors
from ckpttool.search.configurations import Block, Configuration, Outcome
from ckpttool.search.depths import Depth, depths
from ckpttool.search.rows import TOLD, SearchRows
from ckpttool.training.bound import Bound
from ckpttool.training.callbacks.callback import Callback
from ckpttool.training.features import CachedRows, FeatureCache, Features
from ckpttool.training.heads import headed, place_at
from ckpttool.training.options import Options
from ckpttool.training.outputs import meaning
from ckpttool.training.run import Epoch, is_over
from ckpttool.training.trainer import Trainer

KEPT = 24
"""How many configurations' trainers are kept; the one that was used longest ago goes first."""
Trial = tuple[Configuration, Block]


@dataclass(frozen=True)
class Asked:
    """What all trials of a search share; called, in any process, it gives what runs them.

    Args:
        model: The path of the model that is reused.
        data: Where the rows are.
        head: The new layers.
        options: How trials are trained.
        probe: Whether the head is trained first, alone, where a trial trains layers that were kept.
        seeds, folds, rows: How rows are divided into blocks, and how many are taken.
    """

    model: str
    data: Any
    head: str
    options: Options
    probe: bool = True
    seeds: int = 3
    folds: int = 5
    rows: int | None = None

    def __hash__(self) -> int:
        """Return a number that equal ones share."""
        return hash((self.model, str(self.data), self.head, repr(self.options)))

    def __call__(self) -> "Trials":
        """Open the model and the rows."""
        return Trials(self)


class Trials:
    """Runs trials of one search, in one process."""

    def __init__(self, asked: Asked) -> None:
        """Open the model and the rows, and find the depths.

        Raises:
            CkptError: the model has no depths, or the rows, the head and the options do not fit.
        """
        self.asked = asked
        options = asked.options
        source = Bound.of(Model.open(asked.model), options.roles, ("inputs",), seed=options.seed)
        self._source = source.preprocessing(options.preprocess)
        self.depths = depths(self._source.model.graph, self._source.roles.inputs, self._source.roles.logits)
        self._trainers: OrderedDict[Configuration, Trainer] = OrderedDict()
        self._features: dict[tuple[str, ...], tuple[Features, Features]] = {}
        self._probed: dict[tuple[int, Block], Mapping[str, Tensor]] = {}

    @cached_property
    def rows(self) -> SearchRows:
        """The rows, as the head's placeholders take them."""
        asked, wanted = self.asked, self._bound(Configuration(len(self.depths) - 1, 0)).wanted(self.asked.options.features)
        return SearchRows.of(
            *labelled_split(asked.data, wanted), asked.seeds, asked.folds, asked.options.seed, asked.rows
        )

    def __call__(self, trial: Trial) -> Outcome:
        """Train a configuration on a block and judge it; training that fails is an outcome, too."""
        configuration, block = trial
        start = time.perf_counter()
        try:
            trainer, epochs = self._trained(configuration, block)
        except _Diverged as error:
            return Outcome(np.empty(0), time.perf_counter() - start, state="failed", reason=str(error))
        known = meaning(trainer.graph, trainer.bound.roles, str(trainer.bound.roles.logits))
        if known is None:
            raise PlanError(f"what the outputs of the head {self.asked.head!r} mean is not known, so none are right")
        right = known.right(trainer.outputs(), np.asarray(trainer.bound.splits[1].labels))
        return Outcome(right, time.perf_counter() - start, epochs)

    def _trained(self, configuration: Configuration, block: Block) -> tuple[Trainer, int]:
        """Train a configuration on a block: its head alone first, where that is asked for."""
        first = {}
        if self.asked.probe and configuration.trained and configuration.keep:
            first = self._probe(Configuration(configuration.keep, configuration.keep), block)
        trainer = self._begun(configuration, block, first)
        return trainer, self._train(trainer)

    def _probe(self, frozen: Configuration, block: Block) -> Mapping[str, Tensor]:
        """Return the head that was trained on a frozen trunk: the trial of that configuration, which is run once."""
        if (frozen.keep, block) not in self._probed:
            self._trained(frozen, block)
            self._probed[frozen.keep, block] = self._head_of(self._trainers[frozen])
        return self._probed[frozen.keep, block]
