"""The evaluation on a page: metrics, a confusion matrix, the worst examples, statistics of layers."""

from collections.abc import Iterator, Sequence

from ckpttool.core.pages.elements import badge, bar_cell, cell, figure, figure_cell, name_cell, plain_table, row
from ckpttool.core.pages.pictures import picture
from ckpttool.core.pages.plots import heat_cell
from ckpttool.core.shown_text import as_html
from ckpttool.reporting.facts import ModelEvaluation, Row
from ckpttool.training.diagnosis import Diagnosis
from ckpttool.training.mistakes import Mistake

MOST_CLASSES = 30
"""The largest number of classes for a complete confusion matrix; for more, the most confused pairs are shown."""
PAIRS = 20
THUMBNAIL = 84
"""The approximate size of a thumbnail, in pixels."""
ACTIVATIONS = ("layer", "activation", "mean", "std", "dead", "saturated", "gradient std", "verdict")


def evaluation_section(evaluation: ModelEvaluation) -> str:
    """Return the section as HTML."""
    figures = evaluation.figures
    parts = [f"<p>{as_html(_said(evaluation))}</p>"]
    if figures.get("classes"):
        parts += ["<h3>Recall and precision of each class</h3>", _classes(figures["classes"])]
    if figures.get("labels"):
        parts += ["<h3>Recall and precision of each label</h3>", _labels(figures["labels"])]
    if figures.get("confusion"):
        parts += ["<h3>Confusion</h3>", _confusion(figures["confusion"], class_names(figures))]
    if evaluation.worst:
        examples = "".join(map(_example, evaluation.worst))
        parts += ["<h3>Misclassified examples with the highest confidence</h3>", f"<ul class=worst>{examples}</ul>"]
    if evaluation.diagnoses:
        parts += ["<h3>Activations and gradients</h3>", _activations(evaluation.diagnoses)]
    elif evaluation.no_diagnosis:
        parts.append(f"<p class=soft>{as_html(evaluation.no_diagnosis)}</p>")
    return "".join(parts)


def class_names(figures: Row) -> list[str]:
    """Return the names of classes; their numbers if they have no names.

    >>> class_names({"classes": [{"class": 0, "name": "cat"}, {"class": 1}]})
    ['cat', '1']
    """
    return [str(each.get("name", each["class"])) for each in figures.get("classes", ())]


def _said(evaluation: ModelEvaluation) -> str:
    """Return the metrics of all rows as a sentence."""
    figures = evaluation.figures
    texts = [f"{figures['rows']} rows of {evaluation.data}: loss {figures['loss']:.4f}"]
    if figures.get("accuracy") is not None:
        texts.append(f"accuracy {figures['accuracy']:.4f}")
    for key in ("mean_absolute_error", "root_mean_squared_error"):
        if key in figures:
            texts.append(f"{key.replace('_', ' ')} {figure(figures[key])}")
    return ", ".join(texts)


def _classes(classes: Sequence[Row]) -> str:
    names = {each["class"]: str(each.get("name", each["class"])) for each in classes}
    rows = [
        row(
            name_cell(names[each["class"]]),
            cell(each["rows"], "number"),
            bar_cell(each["accuracy"]),
            bar_cell(each["precision"]),
            cell("" if each["taken_for"] is None else names.get(each["taken_for"], each["taken_for"])),
        )
        for each in classes
    ]
    return plain_table(["class", "rows", "recall", "precision", "most often confused with"], rows, ["rows"], "classes")


def _labels(labels: Sequence[Row]) -> str:
    rows = [
        row(
            name_cell(str(each.get("name", each["label"]))),
            cell(each["rows"], "number"),
            *(bar_cell(each[key]) for key in ("recall", "precision", "accuracy")),
        )
        for each in labels
    ]
    return plain_table(["label", "rows", "recall", "precision", "accuracy"], rows, ["rows"], "labels")


def _confusion(counts: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    """Return the confusion matrix, with a row per true class, or the most confused pairs, as HTML."""
    if len(counts) > MOST_CLASSES:
        pairs = [(count, one, other) for one, line in enumerate(counts) for other, count in enumerate(line)]
        worst = sorted((pair for pair in pairs if pair[0] and pair[1] != pair[2]), reverse=True)[:PAIRS]
        rows = [row(*map(name_cell, (names[a], names[b])), cell(count, "number")) for count, a, b in worst]
        return plain_table(["class", "predicted as", "rows"], rows, ["rows"], "confusion")
    rows = [
        row(f"<th scope=row>{as_html(name)}</th>", *(heat_cell(count, sum(line)) for count in line))
        for name, line in zip(names, counts, strict=True)
    ]
    return plain_table(["true \\ predicted", *names], rows, names, "confusion")


def _example(example: Mistake) -> str:
    """Return an example: its picture, its class and the predicted class."""
    drawn = ""
    if example.image is not None:
        said = f"row {example.row}: {example.label}, predicted as {example.predicted}"
        drawn = picture(example.image, said, max(1, THUMBNAIL // max(example.image.shape[:2])))
    where = as_html(example.file or f"row {example.row}")
    return (
        f"<li>{drawn}<b>{as_html(example.label)}</b> predicted as <b>{as_html(example.predicted)}</b>"
        f"<span class=soft>{example.probability:.1%}, {where}</span></li>"
    )


def _activations(diagnoses: Sequence[Diagnosis]) -> str:
    return plain_table(ACTIVATIONS, _activation_rows(diagnoses), ACTIVATIONS[2:7], "activations")


def _activation_rows(diagnoses: Sequence[Diagnosis]) -> Iterator[str]:
    for each in diagnoses:
        shares = (None if share is None else f"{share:.1%}" for share in (each.dead, each.saturated))
        yield row(
            name_cell(each.layer),
            cell(each.activation or ""),
            *map(figure_cell, (each.mean, each.std)),
            *(cell(share or "", "number") for share in shares),
            figure_cell(each.gradient_std),
            f"<td>{badge(each.verdict, 'good' if each.verdict == 'ok' else 'bad')}</td>",
        )
