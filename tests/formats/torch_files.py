"""Files of PyTorch for the tests of their reader: those that torch writes, and crafted ones."""

import pickle
import zipfile

import torch


def values(opened):
    return {name: tensor.read().tolist() for name, tensor in opened.items()}


def saved(path, value, **options):
    torch.save(value, path, **options)
    return path


def rewritten(path, new, changes, compression=zipfile.ZIP_STORED):
    """Copy a zip file with other bytes for some members; None removes one."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(new, "w", compression) as out:
        for name in [*old.namelist(), *(name for name in changes if name not in old.namelist())]:
            data = changes[name] if name in changes else old.read(name)
            if data is not None:
                out.writestr(name, data)
    return new


class Named:
    """Pickled as a global name, for which no class needs to exist."""

    def __init__(self, name):
        self.name = name


def pickled(said):
    """Return a pickle: tuples that start with a name are calls of it, those with "storage" are storages."""
    if isinstance(said, Named):
        return b"c" + said.name.rpartition(".")[0].encode() + b"\n" + said.name.rpartition(".")[2].encode() + b"\n"
    if isinstance(said, tuple) and said and said[0] == "storage":
        return marked(said) + b"Q"
    if isinstance(said, tuple) and said and isinstance(said[0], Named):
        return pickled(said[0]) + marked(said[1:]) + b"R"
    if isinstance(said, tuple):
        return marked(said)
    if isinstance(said, dict):
        return b"}" + b"".join(pickled(key) + pickled(value) + b"s" for key, value in said.items())
    return pickle.dumps(said, 2)[2:-1]


def marked(parts):
    return b"(" + b"".join(map(pickled, parts)) + b"t"


FLOAT = Named("torch.FloatStorage")
REBUILD = Named("torch._utils._rebuild_tensor_v2")


def view(storage=("storage", FLOAT, "0", "cpu", 6), offset=0, shape=(2, 3), strides=(3, 1), rebuild=REBUILD):
    return (rebuild, storage, offset, shape, strides, False, (Named("collections.OrderedDict"),))


def crafted(tmp_path, said, **members):
    """Write a file with a pickle and 24 bytes of storage; other members replace these or are added."""
    data = said if isinstance(said, bytes) else b"\x80\2" + pickled(said) + b"."
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as out:
        for name, raw in {"x/data.pkl": data, "x/data/0": bytes(24), **members}.items():
            out.writestr(name, raw)
    return tmp_path / "x.pt"
