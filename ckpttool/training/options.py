"""Options of a run, and its stages, which unfreeze a network from the top down."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from ckpttool.core.calls import from_to, require, require_made
from ckpttool.core.errors import PlanError
from ckpttool.core.patterns import check_no_semicolon
from ckpttool.data.class_files import Classes
from ckpttool.data.files import Source
from ckpttool.data.held_out import HeldOut
from ckpttool.runtime.objectives import Objective
from ckpttool.runtime.recipe import Recipe

BATCH_SIZE = 200
"""The default number of rows per step."""
_EXAMPLE = "'outputs=3, hidden4=3, .*=10': patterns with a number of epochs each"


MAY_CHANGE = ("epochs", "early_stopping", "save_every", "keep_checkpoints", "cache_dir")
"""Options that may differ in a resumed run: they do not change the steps already taken."""


@dataclass(frozen=True)
class Stage:
    """Epochs that train the layers matched by some patterns; without patterns, all layers that are not frozen."""

    patterns: tuple[str, ...]
    epochs: int

    @property
    def train(self) -> str | None:
        """The patterns joined into one."""
        return "|".join(f"(?:{pattern})" for pattern in self.patterns) if len(self.patterns) > 1 else self.last

    @property
    def last(self) -> str | None:
        """The pattern added by this stage."""
        return self.patterns[-1] if self.patterns else None


def parse_stages(text: str | None, train: str | None, epochs: int) -> list[Stage]:
    """Parse the stages of a run; each trains its own layers and those of the earlier stages.

    >>> parse_stages("outputs=3, hidden4=10", None, 20)
    [Stage(patterns=('outputs',), epochs=3), Stage(patterns=('outputs', 'hidden4'), epochs=10)]
    >>> parse_stages("outputs=3, hidden4=10", None, 20)[1].train
    '(?:outputs)|(?:hidden4)'

    Raises:
        PlanError: the text is not a list of PATTERN:EPOCHS, or the trained layers are specified twice.
    """
    if text is None:
        return [Stage((train,) if train else (), epochs)]
    if train is not None:
        raise PlanError("`stages` specifies which layers are trained and when; leave `train` out")
    stages: list[Stage] = []
    for part in text.split(","):
        pattern, _, count = (each.strip() for each in part.rpartition("="))
        check_no_semicolon("`stages`", pattern)
        if not pattern or not count.isdecimal() or not int(count):
            raise PlanError(f"`stages` {part.strip()!r}: expected {_EXAMPLE}")
        before = stages[-1].patterns if stages else ()
        stages.append(Stage((*before, pattern), int(count)))
    return stages


def stage_of(stages: list[Stage], epoch: int) -> int:
    """Return the index of the stage of an epoch (counted from 1 through all stages); the last stage has no end."""
    last = 0
    for number, stage in enumerate(stages):
        last += stage.epochs
        if epoch <= last:
            return number
    return len(stages) - 1


@dataclass(frozen=True)
class Options:
    """How to train, with the names of the command line's options.

    A `teacher` is a model whose logits, softened by `temperature`, have weight `teacher_weight` in the loss.
    `lp_ft` is the number of epochs in which the head alone is trained first.
    `recipe` None trains with the graph's own training op, `roles["training_op"]`; `objective` None keeps its loss.
    `valid` specifies which training rows are held out: a number or `20%` of them at random, `first:5000` or `last:10%`
    by position; rows with the same value of `group` stay together. `threads` must be the number that TensorFlow was
    configured with by `configure_tensorflow`; None allows any. `batch_size` None is 200, or at most an eighth of the
    rows if they are few. `unfreeze` matches layers to train that the model itself keeps frozen.
    `preprocess` replaces the preprocessing stored in the model: `scale(1/127.5, -1)`.
    """

    train: str | None = None
    freeze: str | None = None
    unfreeze: str | None = None
    stages: str | None = None
    lp_ft: int | None = None
    bn: str | None = None
    dropout: str | None = None
    recipe: Recipe | None = field(default_factory=Recipe)
    objective: Objective | None = None
    epochs: int = 20
    batch_size: int | None = None
    seed: int = 42
    threads: int | None = None
    valid: int | str | None = None
    group: str | None = None
    features: str | None = None
    classes: Classes = None
    preprocess: str | None = None
    cache: bool = False
    cache_dir: str | Path | None = None
    augment: str | None = None
    cache_augment: int | None = None
    image_shape: tuple[int, ...] | None = None
    early_stopping: int | None = None
    keep: Literal["best", "last"] = "best"
    save_every: str | None = None
    keep_checkpoints: int = 3
    teacher: str | Path | None = None
    temperature: float = 2.0
    teacher_weight: float = 0.5
    roles: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that recipe and objective are objects, not texts."""
        require_made("`recipe`", self.recipe, Recipe)
        require_made("`objective`", self.objective, Objective)

    @property
    def held_out(self) -> HeldOut:
        """The rule for holding out rows if the data has no validation rows.

        Raises:
            PlanError: `valid` or `group` is invalid.
        """
        return HeldOut.parse(self.valid, self.group, self.seed)

    def all_stages(self) -> list[Stage]:
        """Return the stages of the run; a single one if `stages` is not specified."""
        return parse_stages(self.stages, self.train, self.epochs)

    def flat(self) -> dict[str, Any]:
        """Return the options by their command-line names, as in a configuration file.

        >>> Options(freeze="hidden[12]").flat()["freeze"], Options().flat()["optimizer"]
        ('hidden[12]', None)
        """
        own = {
            each.name: getattr(self, each.name)
            for each in fields(self)
            if each.name not in ("recipe", "objective", "roles")
        }
        recipe = asdict(self.recipe) if self.recipe else {}
        objective = asdict(self.objective) if self.objective else {}
        if objective:
            objective["objective"] = objective.pop("kind")
        roles = {("train_op" if role == "training_op" else role): name for role, name in self.roles.items()}
        return {**own, **recipe, **objective, **roles}

    def lasting(self) -> dict[str, Any]:
        """Return the options that must be the same in a resumed run, because they change its steps.

        >>> "freeze" in Options().lasting(), "epochs" in Options().lasting()
        (True, False)
        """
        return {name: value for name, value in self.flat().items() if name not in MAY_CHANGE}


def with_training_op(options: Options, training_op: str | None) -> Options:
    """Return the options of a run that uses the graph's own training op, if one is named.

    Raises:
        PlanError: they also specify an optimizer or what belongs to it.
    """
    if training_op is None:
        return options
    given = [name for name, value in asdict(options.recipe or Recipe()).items() if value != getattr(Recipe(), name)]
    given += [name for name in ("dropout", "objective", "unfreeze", "teacher") if getattr(options, name) is not None]
    if given:
        named, others = ", ".join(f"`{name}`" for name in given), "an `optimizer` is put on the graph without it"
        raise PlanError(f"`training_op` {training_op} trains as it was made to: leave {named} out; {others}")
    return replace(options, recipe=None, roles={**options.roles, "training_op": training_op})


@dataclass(frozen=True)
class PseudoLabels:
    """Pseudo-labelling: in each of `rounds`, a `share` of the rows predicted for each class is labelled.

    The rows come from `unlabelled`; predictions with a probability below `sure` are skipped.
    """

    share: float
    unlabelled: Source
    rounds: int = 1
    sure: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        require("`pseudo_label`", self.share, 0 < self.share <= 1, "a number above 0, at most 1")
        require("`rounds`", self.rounds, 1 <= self.rounds <= 100, "a whole number from 1 to 100")
        from_to("`sure`", self.sure, 0, 1)

    def flat(self) -> dict[str, Any]:
        """Return the options by their command-line names, as in a configuration file."""
        facts = {each.name: getattr(self, each.name) for each in fields(self)}
        return {"pseudo_label": facts.pop("share"), **facts, "unlabelled": str(self.unlabelled)}
