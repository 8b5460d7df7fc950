"""Carrying: the lineage of an output is written with it, in its metadata or beside it."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ckpttool.formats.writing.staging import destination
from ckpttool.lineage.output import KEY
from ckpttool.lineage.provenance import Command, Provenance

if TYPE_CHECKING:
    from ckpttool.formats.format import Format, Writing
    from ckpttool.lineage.records import Chain


@contextlib.contextmanager
def carried(
    provenance: Provenance, command: Command | None, output: Path, target: "Format", how: "Writing"
) -> Iterator["Writing"]:
    """Yield the writing options that include the lineage; if the format has no metadata, write it beside the output.

    Arrays in memory that are not written by a command have no lineage.
    """
    if command is None and not provenance.files:
        yield how
        return
    from ckpttool.lineage.file_hash import HashThreads
    from ckpttool.lineage.records import Source
    from ckpttool.lineage.storage import MOST_TEXT, text_of, write_beside

    with HashThreads() as threads:
        draft = provenance.draft(command or Command("save", (str(destination(output)),)))
        provenance.hash_in(threads)

        def finished() -> "Chain":
            threads.wait()
            return provenance.hashed(draft)

        text = text_of(draft)
        if target.METADATA and len(text) <= MOST_TEXT:
            metadata = {**target.EXPECTED_METADATA, **how.metadata}
            if target.LATER:
                yield replace(how, metadata={**metadata, KEY: text}, later=lambda: {KEY: text_of(finished())})
            else:
                yield replace(how, metadata={**metadata, KEY: text_of(finished())})
        else:
            yield how
            write_beside(output, Source.of(output, target.NAME, target.open(output)), finished())


def carry_graph(provenance: Provenance, command: Command | None, output: Path) -> None:
    """Write the lineage beside a graph that was written without a checkpoint."""
    if command is None and not provenance.files:
        return
    from ckpttool.lineage.records import Source
    from ckpttool.lineage.storage import write_beside

    chain = provenance.chain(command or Command("save", (str(destination(output)),)))
    write_beside(output, Source.of_graph(output), chain)
