"""Tied weights: of tensors that share their bytes `safetensors.torch.save_model` writes one; metadata names the others.

An entry is the name that was left out, with the name that was kept.
"""

from collections.abc import Collection, Mapping

from ckpttool.core.tensors import Tensor


def ties(metadata: Mapping[str, str], names: Collection[str]) -> dict[str, str]:
    """Return the entries that tie a name to one of these; other frameworks than PyTorch write none.

    >>> ties({"head.weight": "embed.weight", "by": "me"}, ["embed.weight"])
    {'head.weight': 'embed.weight'}
    """
    if metadata.get("format", "pt") != "pt":
        return {}
    return {alias: kept for alias, kept in metadata.items() if kept in names and alias != kept}


def untied(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Leave out tensors that are still tied to others, as `load_model` expects, and ties of those that are not."""
    said = ties(metadata, tensors)
    tied = {alias for alias, kept in said.items() if kept not in said and _shared(tensors.get(alias), tensors[kept])}
    written = {name: tensor for name, tensor in tensors.items() if name not in tied}
    return written, {key: text for key, text in metadata.items() if key not in said or key in tied}


def _shared(alias: Tensor | None, kept: Tensor) -> bool:
    """Say whether two tensors are the same bytes of a file."""
    return alias is not None and alias.extent is not None and alias.extent == kept.extent
