"""HDF5 files: links and datasets that refer to other files, and filters that need plug-ins; nothing is followed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ckpttool.formats.hdf5.datasets import FILTERS
from ckpttool.formats.hdf5.heaps import require_heaps_that_end
from ckpttool.formats.hdf5.source import Hdf5Source, opened
from ckpttool.formats.hdf5.values import text_of
from ckpttool.scanning.finding import Finding

HELP = "ckpttool does not follow it; other programs read the file that it refers to"
MOST = 1_000_000
"""The maximum number of objects that are examined; each only once, however many links refer to it."""
LONGEST = 1 << 26
"""The maximum size in bytes of a config in an attribute."""
CONFIGS = ("model_config", "training_config")


def hdf5_findings(source: Hdf5Source, where: str = "") -> Iterator[Finding]:
    """Yield findings for references to other files, and for filters of plug-ins.

    Raises:
        CorruptCheckpoint: HDF5 cannot read the file.
    """
    with opened(source) as file:
        yield from _walk(file, source.path, where)


def configs_in(source: Hdf5Source) -> dict[str, bytes]:
    """Return the JSON of the attributes in which Keras stores a network and its compile config, by attribute name.

    Raises:
        CorruptCheckpoint: HDF5 cannot read the file, or would not end.
    """
    require_heaps_that_end(source)
    with opened(source) as file:
        found = {}
        for name in CONFIGS:
            if name in file.attrs and file.attrs.get_id(name).get_storage_size() <= LONGEST:
                text = file.attrs[name]
                found[name] = text if isinstance(text, bytes) else str(text).encode()
        return found


def _walk(file: Any, path: Path, where: str) -> Iterator[Finding]:
    import h5py

    seen: set[int] = set()
    todo = [(file, where)]
    while todo:
        group, place = todo.pop()
        address = int(h5py.h5o.get_info(group.id).addr)
        if address in seen or len(seen) > MOST:
            continue
        seen.add(address)
        for name in group:
            here = f"{place}/{text_of(name)}" if place else text_of(name)
            raw = name if isinstance(name, bytes) else name.encode("utf-8", "surrogateescape")  # bytes if not UTF-8
            kind = group.id.links.get_info(raw).type
            if kind == h5py.h5l.TYPE_HARD:
                member = group[name]
                if isinstance(member, h5py.Group):
                    todo.append((member, here))
                elif isinstance(member, h5py.Dataset):
                    yield from _dataset(member, path, here)
            elif kind == h5py.h5l.TYPE_EXTERNAL:
                reason = "it is a link to another file, which is opened when this one is read"
                target = ":".join(map(text_of, group.id.links.get_val(raw)))
                yield Finding(path, "hdf5/link", here, target, "medium", reason, HELP)
            elif kind != h5py.h5l.TYPE_SOFT:
                yield Finding(path, "hdf5/link", here, "UserLink", "medium", "it is a link of a plug-in", HELP)


def _dataset(dataset: Any, path: Path, here: str) -> Iterator[Finding]:
    if dataset.external:
        files = ", ".join(str(name) for name, *_ in dataset.external)
        reason = "its values are in another file, which is read instead"
        yield Finding(path, "hdf5/storage", here, files[:200], "medium", reason, HELP)
    if dataset.is_virtual:
        files = ", ".join(sorted({source.file_name for source in dataset.virtual_sources()} - {"."}))
        if files:
            reason = "it is composed of other files, which are read instead"
            yield Finding(path, "hdf5/storage", here, files[:200], "medium", reason, HELP)
    properties = dataset.id.get_create_plist()
    for number in range(properties.get_nfilters()):
        code = properties.get_filter(number)[0]
        if code not in FILTERS:
            reason = "HDF5 looks for a plug-in on the machine, and runs its code"
            yield Finding(path, "hdf5/filter", here, f"filter {code}", "low", reason, HELP)
