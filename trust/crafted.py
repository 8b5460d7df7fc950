"""Crafted files: each has false sizes, hidden, nested or repeated content. Reports the outcome, its time and memory.

Run as: python trust/crafted.py [--every N] [PART OF A NAME ...]
"""

import argparse
import json
import sys
from collections.abc import Iterator

import crafted_archives
import crafted_bundles
import crafted_graphs
import crafted_hdf5
import crafted_kept
import crafted_names
import crafted_others
import crafted_zips
from crafting import Case, attempt


def crafted() -> Iterator[Case]:
    """Yield all cases: what is wrong with the file, and the function that makes it."""
    for module in (
        crafted_bundles,
        crafted_hdf5,
        crafted_zips,
        crafted_others,
        crafted_graphs,
        crafted_kept,
        crafted_names,
        crafted_archives,
    ):
        yield from module.cases()


def main() -> None:
    """Run every case, or every Nth, and print a row for each and the totals."""
    import h5py  # noqa: F401 - what the child imports is not counted

    from ckpttool.formats import registry

    list(registry.every())
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("wanted", nargs="*", default=[""], help="parts of names")
    asked, tried, bad, worst = parser.parse_args(), 0, 0, [0.0, 0.0]
    chosen = [case for case in crafted() if any(part in case.name for part in asked.wanted)]
    for name, make, read in chosen[:: asked.every]:
        outcome = attempt(make, read)
        tried, bad = tried + 1, bad + outcome.verdict.startswith("bad")
        worst = [max(worst[0], outcome.seconds), max(worst[1], outcome.megabytes)]
        said = outcome.verdict[:150].encode("utf-8", "backslashreplace").decode()  # may be half a surrogate pair
        print(f"{name:60} {outcome.seconds:6.2f} s {outcome.megabytes:7.1f} MB  {said}", flush=True)
    note = f"at most {worst[0]:.1f} s and {worst[1]:.0f} MB"
    print(json.dumps({"figure": "crafted files", "tried": tried, "bad": bad, "note": note}))
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
