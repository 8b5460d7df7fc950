"""Archives of models, as `zoo pull` gets them: names that lead out, links, devices, doubles, bombs, changed bytes."""

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from crafting import Case, file, refusals

from ckpttool.zoo import archives

NAMES = {
    "absolute": "/tmp/owned.npz",
    "above": "../owned.npz",
    "above a folder": "m/../../owned.npz",
    "above, as Windows writes it": "..\\owned.npz",
    "on a drive": "C:\\owned.npz",
    "of a stream": "model.npz:x.npz",
    "of 300 letters": "a" * 300 + ".npz",
    "of 5,000 folders": "d/" * 5000 + "model.npz",
    "with a newline": "a\nb.npz",
    "with an escape": "\x1b[2Jx.npz",
    "with a bidirectional control": "\u202ex.npz",
    "that ends in a slash": "m/model.npz/",
    "with two slashes": "m//model.npz",
}
LINK: dict[str, Any] = {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}
Member = tuple[str, bytes, dict[str, Any]]
Pack = Callable[[bytes], bytes]


def model() -> bytes:
    """Return a model."""
    out = io.BytesIO()
    np.savez(out, w=np.ones((3, 4), np.float32))
    return out.getvalue()


def tar(*members: Member, pack: Pack = gzip.compress) -> bytes:
    """Return a packed tar of members: their names, contents, and other facts of their headers."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as target:
        for name, content, facts in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in facts.items():
                setattr(info, key, value)
            target.addfile(info, io.BytesIO(content))
    return pack(out.getvalue())


def zipped(*members: tuple[str, bytes], kind: int = 0) -> bytes:
    """Return a zip of members of a kind, such as links."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.external_attr, info.compress_type = (kind | 0o777) << 16, zipfile.ZIP_DEFLATED
            target.writestr(info, content)
    return out.getvalue()


def unpack(path: Path) -> object:
    """Unpack the model of an archive, and look at all that came of it."""
    out = path.parent / "inner" / "out"
    out.mkdir(parents=True)
    _, names = archives.unpacked(path, "", path.name, out)
    found = [each for each in path.parent.rglob("*") if each != path]
    odd = [each for each in found if each.is_symlink() or not (each.is_file() or each.is_dir())]
    odd += [each for each in found if each.is_file() and (not each.is_relative_to(out) or each.stat().st_mode & 0o7111)]
    if odd or Path("/tmp/owned.npz").exists():
        raise AssertionError(f"written: {odd}")
    return names


def bomb(pack: Pack) -> bytes:
    """Return a packed tar of zeros."""
    return tar(("m.npz", bytes(50 << 20), {}), pack=pack)


def cut(pack: Pack) -> bytes:
    """Return a packed tar without its end."""
    return tar(("m.npz", model(), {}), pack=pack)[:-9]


def changed() -> bytes:
    """Return a packed tar in which a number is another one."""
    packed = tar(("m.npz", model(), {}), pack=partial(gzip.compress, compresslevel=0))
    return packed.replace(b"\x00\x00\x80\x3f", b"\x00\x00\x80\x40", 1)


def made() -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Yield what is wrong with an archive, and what makes it."""
    held = model()
    for name, path in NAMES.items():
        yield f"tar, a name {name}", partial(tar, (path, held, {}))
        yield f"zip, a name {name}", partial(zipped, (path, held))
    kinds: dict[str, dict[str, Any]] = {
        "link": LINK,
        "hard link": LINK | {"type": tarfile.LNKTYPE},
        "pipe": {"type": tarfile.FIFOTYPE},
        "device": {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5},
    }
    for name, facts in kinds.items():
        yield f"tar, a {name} for a model", partial(tar, ("model.npz", b"", facts))
    outside = {**LINK, "linkname": ".."}
    yield "tar, a link for its folder", lambda: tar(("m", b"", outside), ("m/owned.npz", held, {}))
    yield "tar, a model that runs as its owner", lambda: tar(("m.npz", held, {"mode": 0o6777}))
    yield "tar, a model twice", lambda: tar(("m.npz", held, {}), ("./m.npz", held, {}))
    yield "tar, a file that is a folder", lambda: tar(("m.npz", held, {}), ("m.npz/x.npz", held, {}))
    yield "zip, a link for a model", lambda: zipped(("model.npz", b"/etc/passwd"), kind=stat.S_IFLNK)
    yield "zip, a pipe for a model", lambda: zipped(("model.npz", held), kind=stat.S_IFIFO)
    for name, pack in (("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)):
        yield f"tar.{name}, 50 MB of zeros", partial(bomb, pack)
        yield f"tar.{name}, cut", partial(cut, pack)
    yield "tar.gz, a number changed", changed
    yield "tar, of a zip", lambda: tar(("m.npz", held, {}), pack=bytes)


def cases() -> Iterator[Case]:
    """Yield the cases."""
    for name, content in made():
        yield Case(f"archive: {name}", file("a.bin", content), refusals(unpack))
