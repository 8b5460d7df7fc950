"""A report as the text of a model card, in Markdown: the contents of the page without plots."""

from collections.abc import Iterator, Sequence
from pathlib import PurePath

from ckpttool.core.counts import counted, human_size
from ckpttool.core.shown_text import as_markdown
from ckpttool.reporting.evaluation import class_names
from ckpttool.reporting.facts import Facts, ModelEvaluation
from ckpttool.reporting.scopes import Scope, tree
from ckpttool.surgery.differing.differences import ranking, summary
from ckpttool.training.run import best_of

MOST_LAYERS = 40
"""The largest number of lines in the table of layers; for more layers, it lists their scopes."""


def card_body(facts: Facts) -> str:
    """Return the text of a card, without its header."""
    parts = [
        f"# {as_markdown(facts.path.name)}",
        _table(("", ""), facts.about[1:]),
        f"## Layers\n\n{_layers(facts)}" if facts.layers else "",
        f"## Evaluation\n\n{_evaluation(facts.evaluation)}" if facts.evaluation else "",
        f"## Training\n\n{_training(facts)}" if facts.history else "",
        _changes(facts),
        "\n".join(_lineage(facts)),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table; a heading that starts with > is that of a column of numbers."""
    names = [head.removeprefix(">") for head in heads]
    marks = ["---:" if head.startswith(">") else "---" for head in heads]
    lines = [names, marks, *([as_markdown(str(each)) for each in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _layers(facts: Facts) -> str:
    """Return a table of the layers, or of their scopes."""
    level = list(tree(facts.layers).inside.values())
    while True:
        below = [each for scope in level for each in ([scope] if scope.layer else scope.inside.values())]
        if len(below) > MOST_LAYERS or below == level:
            break
        level = below
    rows = [_row(scope, facts) for scope in level[:MOST_LAYERS]]
    more = len(level) - len(rows)
    return _table(("layer", ">tensors", ">parameters", ">size", ""), rows) + (
        f"\n\n{more} more are not shown." * (more > 0)
    )


def _row(scope: Scope, facts: Facts) -> tuple[object, ...]:
    layers = list(scope.layers())
    names = [name for layer in layers for name in layer["variables"]]
    known = {facts.trained[name] for name in names if name in facts.trained}
    word = "" if not known else "partly trained" if len(known) > 1 else "trained" if True in known else "frozen"
    size = sum(facts.tensors[name]["bytes"] or 0 for name in names if name in facts.tensors)
    return scope.name, len(names), f"{sum(layer['parameters'] for layer in layers):,}", human_size(size), word


def _evaluation(evaluation: ModelEvaluation) -> str:
    figures = evaluation.figures
    accuracy = "" if figures.get("accuracy") is None else f", accuracy {figures['accuracy']:.4f}"
    rows, name = counted(figures["rows"], "row"), as_markdown(PurePath(evaluation.data).name)
    said = f"{rows} of {name}: loss {figures['loss']:.4f}{accuracy}."
    lines = [
        (name, each["rows"], *("" if each[key] is None else f"{each[key]:.1%}" for key in ("accuracy", "precision")))
        for name, each in zip(class_names(figures), figures.get("classes", ()), strict=False)
    ]
    return f"{said}\n\n{_table(('class', '>rows', '>recall', '>precision'), lines)}" if lines else said


def _training(facts: Facts) -> str:
    best = best_of(facts.history)
    accuracy = "" if best.valid_accuracy is None else f", accuracy {best.valid_accuracy:.4f}"
    epochs = counted(len(facts.history), "epoch")
    return f"{epochs}; the best is {best.epoch}: validation loss {best.valid_loss:.4f}{accuracy}."


def _changes(facts: Facts) -> str:
    if not facts.against:
        return ""
    path, diff = facts.against.path, facts.against.diff
    rest = [f"{line[0].upper()}{line[1:]}." for line in ranking(diff)]
    lines = [facts.against.verdict.sentence, f"Tensors: {summary(diff)}.", *rest]
    return f"## Changes against {as_markdown(path.name)}\n\n" + "\n".join(map(as_markdown, lines))


def _lineage(facts: Facts) -> Iterator[str]:
    """Yield the commands that made a model, oldest first."""
    records = facts.lineage.get("records") or []
    if records:
        yield "## How it was made\n"
    for number, record in enumerate(records, start=1):
        sources = ", ".join(PurePath(source["path"]).name for source in record["sources"])
        yield f"{number}. " + as_markdown(f"{record['date'][:10]}: {record['command']}, from {sources}")
