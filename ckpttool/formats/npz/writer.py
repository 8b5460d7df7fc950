"""Writing NumPy's .npz: an uncompressed zip with an array in each member, streamed."""

import re
import zipfile
from collections.abc import Mapping
from typing import IO, BinaryIO

import numpy as np
from numpy.lib import format as npy

from ckpttool.core.errors import FormatError
from ckpttool.core.tensors import STRING, Array, Tensor
from ckpttool.formats.wire.elements import as_bytes

SUFFIX = ".npy"
LOSES = re.compile(rb"\0\Z")
"""What NumPy takes off an array's bytes: the zeros at their end, which it fills them up with."""


def write_archive(file: BinaryIO, tensors: Mapping[str, Tensor]) -> None:
    """Write arrays into a file as an .npz, one at a time; the same tensors give the same bytes.

    Raises:
        FormatError: NumPy has no such dtype, or a zip no such name.
    """
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, tensor in tensors.items():
            info = zipfile.ZipInfo(_member_name(name), (1980, 1, 1, 0, 0, 0))
            with archive.open(info, "w", force_zip64=True) as member:
                _write_array(member, tensor.renamed(name))


def _member_name(name: str) -> str:
    try:
        if "\0" not in name and name.encode():
            return name + SUFFIX
    except UnicodeEncodeError:
        pass
    raise FormatError(f"an .npz cannot hold an array named {name!r}")


def _write_array(member: IO[bytes], tensor: Tensor) -> None:
    if tensor.dtype is STRING:
        array = _byte_array(tensor)
        npy.write_array(member, array, (1, 0), allow_pickle=False)
        return
    own = tensor.dtype.numpy_name == tensor.dtype.name  # quantised numbers would be taken for plain ones
    if not tensor.dtype.itemsize or not own:
        raise FormatError(f"{tensor.name} is {tensor.dtype}, which an .npz cannot hold; --cast changes it")
    dtype = tensor.dtype.numpy.newbyteorder("<")
    header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": tensor.shape}
    npy.write_array_header_1_0(member, header)
    for piece in tensor.pieces():
        member.write(piece)


def _byte_array(tensor: Tensor) -> Array:
    elements = as_bytes(tensor.read().ravel().tolist(), tensor.name)
    if any(map(LOSES.search, elements)):
        raise FormatError(
            f"{tensor.name} has a string that ends in a zero byte, which an .npz cannot hold and a bundle can"
        )
    return np.array(elements, "S").reshape(tensor.shape)
