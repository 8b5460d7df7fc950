"""Dividing a checkpoint's tensors among files that have a limit."""

from collections.abc import Mapping

from ckpttool.core.tensors import Tensor


def divided(tensors: Mapping[str, Tensor], limit: int | None) -> list[dict[str, Tensor]]:
    """Put tensors into files in their order; one that is larger than the limit has a file to itself.

    Strings and variants, whose size is not known before they are read, do not count.

    >>> import numpy as np
    >>> found = divided({name: Tensor.of(name, np.zeros(3, np.float32)) for name in "abc"}, 24)
    >>> [list(tensors) for tensors in found]
    [['a', 'b'], ['c']]
    """
    files: list[dict[str, Tensor]] = [{}]
    nbytes = 0
    for name, tensor in tensors.items():
        if limit is not None and files[-1] and nbytes + tensor.nbytes > limit:
            files.append({})
            nbytes = 0
        files[-1][name] = tensor
        nbytes += tensor.nbytes
    return files
