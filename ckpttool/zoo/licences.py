"""Licences: SPDX expressions, and the Hub's identifiers."""

from difflib import get_close_matches

from ckpttool.core.errors import CkptError

_WORDS = (
    "afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0 bigscience-openrail-m bsd "
    "bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 "
    "cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 "
    "cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0 cdla-permissive-2.0 "
    "cdla-sharing-1.0 creativeml-openrail-m deepfloyd-if-license ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 gemma "
    "gfdl gpl gpl-2.0 gpl-3.0 isc lgpl lgpl-2.1 lgpl-3.0 lgpl-lr llama2 lppl-1.3c mit mpl-2.0 ms-pl ncsa odbl odc-by "
    "ofl-1.1 openrail openrail++ osl-3.0 other pddl postgresql unknown unlicense wtfpl zlib"
)
HUB = frozenset(_WORDS.split())
"""The Hub's licence identifiers: mostly SPDX's in lower case, and some of its own for model licences and families."""


def licence_fields(text: str) -> dict[str, str]:
    """Return the card's fields for a licence; one without an identifier on the Hub becomes `other` with a name.

    >>> licence_fields("MIT"), licence_fields("openrail"), licence_fields("mit or gpl-3.0-only")
    ({'license': 'mit'}, {'license': 'openrail'}, {'license': 'other', 'license_name': 'MIT OR GPL-3.0-only'})

    Raises:
        CkptError: it is neither an SPDX expression nor an identifier of the Hub.
    """
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    if text.strip().lower() in HUB:
        return {"license": text.strip().lower()}
    try:
        return {"license": "other", "license_name": str(canonicalize_license_expression(text))}
    except InvalidLicenseExpression as error:
        near = ", ".join(get_close_matches(text.strip().lower().replace(" ", "-"), sorted(HUB), cutoff=0.5))
        problem = f"{text!r} is not a licence of SPDX, nor one of the Hub's{f'; nearest: {near}' if near else ''}"
        raise CkptError(f"`licence`: {problem}; LicenseRef-NAME is for your own") from error
