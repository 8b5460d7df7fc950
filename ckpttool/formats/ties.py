"""Tied weights: tensors of a PyTorch model that share their numbers, such as an embedding and the head.

`torch.save` writes them as views of one storage; `safetensors.torch.save_model` writes only one of them, and metadata
with the names of the others. `safetensors.torch.load_model` refuses a file with both.
"""

from collections.abc import Collection, Mapping

from ckpttool.core.tensors import Tensor


def ties(metadata: Mapping[str, str], names: Collection[str]) -> dict[str, str]:
    """Return the metadata entries that tie a name to one of `names`; empty if the framework is not PyTorch.

    >>> ties({"head.weight": "embed.weight", "by": "me"}, ["embed.weight"])
    {'head.weight': 'embed.weight'}
    """
    if metadata.get("format", "pt") != "pt":
        return {}
    return {alias: kept for alias, kept in metadata.items() if kept in names and alias != kept}


def ties_here(metadata: Mapping[str, str], origins: Mapping[str, str], names: Collection[str]) -> dict[str, str]:
    """Return the ties among tensors by their current names; `origins` has the names in the file of renamed ones.

    >>> ties_here({"head": "embed"}, {"table": "embed"}, ["table", "head"])
    {'head': 'table'}
    """
    here = {origins.get(name, name): name for name in names}
    known = ties(metadata, here)
    return {here[alias]: here[kept] for alias, kept in known.items() if alias in here and kept not in known}


def untied(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str], origins: Mapping[str, str]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors without those that still equal the tensor to which they are tied, with new metadata."""
    known = ties_here(metadata, origins, tensors)
    tied = {alias: kept for alias, kept in known.items() if _is_same(tensors[alias], tensors[kept])}
    in_file = {origins.get(name, name) for name in tensors}
    stale = {key for key in ties(metadata, in_file) if key not in tied or tied[key] != metadata[key]}
    written = {name: tensor for name, tensor in tensors.items() if name not in tied}
    return written, {key: text for key, text in metadata.items() if key not in stale} | tied


def _is_same(alias: Tensor, kept: Tensor) -> bool:
    """Return whether two tensors are the same bytes of a file, or are equal."""
    if (alias.shape, alias.dtype) != (kept.shape, kept.dtype) or not alias.dtype.itemsize:
        return False
    return (alias.extent is not None and alias.extent == kept.extent) or _digest(alias) == _digest(kept)


def _digest(tensor: Tensor) -> bytes:
    from hashlib import blake2b  # imports OpenSSL, and few files have ties

    digest = blake2b()
    for piece in tensor.pieces():
        digest.update(piece)
    return digest.digest()
