"""`ckpttool import --suggest`: a draft of rules instead of an import."""

from pathlib import Path

from ckpttool import checkpoint
from ckpttool.cli.show.output import answer, rows, say
from ckpttool.foreign.matching import ORDER
from ckpttool.foreign.suggest import suggest, write_draft
from ckpttool.formats.writing.files import refuse_existing
from ckpttool.graph import files

COLUMNS = ("from", "to", "transform", "confidence", "why")


def draft_rules(weights: Path, into: Path, output: Path, overwrite: bool, as_json: bool) -> None:
    """Write a draft of rules, print its rows, and say what is open; the answer is no where something is."""
    refuse_existing([output], overwrite)
    draft = suggest(checkpoint.open(weights), files.load(into))
    write_draft(draft, output)
    rows((pair.as_json() for pair in draft.pairs), COLUMNS, as_json)
    for problem in draft.open:
        say(f"open: {problem}")
    if guessed := sum(pair.confidence == ORDER for pair in draft.pairs):
        say(f"only the order tells {guessed} of the rules, which may be wrong: --check the import with a sample")
    say(f"{output}: {len(draft.pairs)} rules, {len(draft.dropped)} tensors dropped, {len(draft.open)} open; edit it")
    answer(not draft.open)
