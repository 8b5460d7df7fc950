"""Rules of `import` and `export`, from lines and files; included sets for families of networks; and drafts."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ckpttool.core.errors import FormatError, MissingDependency, UnknownName
from ckpttool.core.suggestions import suggestion
from ckpttool.foreign.rules import READY_SETS, Rule, parse_rule, read_rules
from ckpttool.formats.writing.files import refuse_existing

if TYPE_CHECKING:
    from ckpttool.foreign.suggest import RuleDraft


def ready_sets() -> list[dict[str, str]]:
    """Return `{"name", "for"}` of the included sets; the purpose is the first line of the file, a comment."""
    return [
        {"name": name, "for": path.read_text("utf-8").partition("\n")[0].removeprefix("# ")}
        for name, path in READY_SETS.items()
    ]


def ready_set(name: str) -> str:
    """Return the text of an included set, to copy and edit.

    Raises:
        UnknownName: the set does not exist; the message has the nearest name.
    """
    if name not in READY_SETS:
        raise UnknownName(
            f"no included rule set is named {name}{suggestion(name, READY_SETS)}; `ckpttool rules` lists them"
        )
    return READY_SETS[name].read_text("utf-8")


def rules_of(lines: Sequence[str], file: Path | None) -> list[Rule]:
    """Return the rules of lines `RE=>NEW`, followed by those of a file or an included set.

    Raises:
        MissingFile: the file or set does not exist.
        CkptError: one is not a rule.
    """
    return [*map(parse_rule, lines), *(read_rules(file) if file else [])]


def draft_rules(weights: Path, into: Path, output: Path, overwrite: bool) -> "RuleDraft":
    """Write a draft of the rules for importing a file's weights into a graph, as `.toml` to read and edit.

    Raises:
        ExistingOutput: the output exists.
    """
    from ckpttool.foreign.pairing import without_copies
    from ckpttool.foreign.suggest import suggest, write_draft  # a list of ready sets needs no graph
    from ckpttool.model.graphs import graph_to_fill
    from ckpttool.model.resolve import open_checkpoint

    refuse_existing([output], overwrite)
    try:
        graph, held, is_graph = graph_to_fill(into, computes=True)
    except (FormatError, MissingDependency):  # a network that cannot be built has names and shapes all the same
        graph, held, is_graph = graph_to_fill(into)
    alone = None if is_graph else held
    draft = suggest(without_copies(open_checkpoint(weights), alone or ()), graph, alone)
    write_draft(draft, output)
    return draft


def guessed_by_order(draft: "RuleDraft") -> int:
    """Return the number of rules in a draft that are based on the order of tensors only, and may be wrong."""
    from ckpttool.foreign.matching import ORDER

    return sum(pair.confidence == ORDER for pair in draft.pairs)
