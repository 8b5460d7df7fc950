"""Manifests: a catalogue's description of one revision of an entry, which never changes once it is written.

Manifests may come from untrusted sources: they are validated before any path or hash in them is used.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ckpttool.catalogue.names import is_name
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.formats.wire import checked_json

FORMAT = 1
"""The version of the format of catalogues and manifests."""
FAMILIES = ("ckpt", "saved-model", "keras", "frozen-graph", "graph", "weights")
Row = Mapping[str, Any]
_HASH = re.compile(r"[0-9a-f]{64}")
_LONGEST_PART, _LONGEST_PATH = 255, 1000
_ROWS = ("tensors", "layers", "inputs", "outputs")
MOST_FILES, MOST_REVISIONS, LARGEST = 100_000, 999_999_999, 1 << 50
"""The accepted maxima: files of a model, revisions of an entry, and bytes of a file."""
CARD_TEXTS = ("license", "license_name", "license_link", "library_name", "pipeline_tag", "text")
CARD_LISTS = ("tags", "datasets", "language")
"""Fields of a model card that are strings, and lists of strings."""


@dataclass(frozen=True)
class StoredFile:
    """A file of a model: its path in the entry's folder, its SHA-256, and its size in bytes."""

    path: str
    sha256: str
    nbytes: int

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object for a manifest."""
        return {"path": self.path, "sha256": self.sha256, "bytes": self.nbytes}


@dataclass(frozen=True)
class Manifest:
    """One revision of an entry: its files, and the description of the model from when it was added.

    `main` is the path of the model in the entry's folder. `tensors`, `layers`, `inputs` and `outputs` are rows of
    tables, `card` the fields of a Hugging Face model card, and `extra` the keys that this version does not know.
    """

    name: str
    revision: int
    created: str
    family: str
    main: str
    files: tuple[StoredFile, ...]
    tensors: Sequence[Row] = ()
    layers: Sequence[Row] = ()
    inputs: Sequence[Row] = ()
    outputs: Sequence[Row] = ()
    parameters: int = 0
    preprocess: str | None = None
    classes: Sequence[str] | None = None
    card: Row = field(default_factory=dict)
    lineage: Row = field(default_factory=dict)
    source: Row | None = None
    extra: Row = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.name}@{self.revision}"

    @property
    def nbytes(self) -> int:
        """The total size of the files in bytes."""
        return sum(file.nbytes for file in self.files)

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object of the manifest."""
        plain = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in ("files", "extra")}
        plain |= {key: list(plain[key]) for key in _ROWS}
        return {"format": FORMAT, **plain, "files": [file.as_json() for file in self.files], **self.extra}

    def dumps(self) -> bytes:
        """Return the manifest as JSON with a checksum."""
        return checked_json.dumps(self.as_json(), indent=None)

    @classmethod
    def loads(cls, text: bytes, name: str, revision: int) -> "Manifest":
        """Parse the manifest of a revision, under its current name and number, which may differ from those in the text.

        Raises:
            CorruptCheckpoint: it is damaged or invalid.
            FormatError: it was written by a newer version.
        """
        try:
            manifest = cls.from_json(checked_json.loads(text))
        except ValueError as error:
            if isinstance(error, FormatError):
                raise
            raise CorruptCheckpoint(f"the manifest of {name}@{revision} is damaged: {error}") from error
        if manifest.revision != revision:
            raise CorruptCheckpoint(f"the manifest of {name}@{revision} declares revision {manifest.revision}")
        return replace(manifest, name=name)

    @classmethod
    def from_json(cls, document: Row) -> "Manifest":
        """Parse the result of `as_json`.

        Raises:
            CorruptCheckpoint: a field is missing, has the wrong type, or is a path outside of the entry's folder.
            FormatError: it was written by a newer version.
        """
        reading = _Reading(document)
        if (version := reading.of("format", int)) > FORMAT:
            raise FormatError(
                f"a manifest has format {version}, this version of ckpttool reads up to {FORMAT}: update it"
            )
        name, family = reading.of("name", str), reading.of("family", str)
        if not is_name(name) or family not in FAMILIES:
            raise CorruptCheckpoint(f"a manifest has the name {name!r} and the family {family!r}")
        known = {each.name for each in fields(cls)} | {"format"}
        return cls(
            name=name,
            revision=reading.count("revision", MOST_REVISIONS),
            created=reading.of("created", str),
            family=family,
            main=safe_path(reading.of("main", str), name),
            files=_files(reading.rows("files"), name),
            parameters=reading.count("parameters", LARGEST),
            preprocess=reading.maybe("preprocess", str),
            classes=reading.texts("classes"),
            card=_card(reading.of("card", dict)),
            lineage=reading.of("lineage", dict),
            source=reading.maybe("source", dict),
            extra={key: value for key, value in document.items() if key not in known},
            **{key: [_named(row, key) for row in reading.rows(key)] for key in _ROWS},
        )


@dataclass(frozen=True)
class _Reading:
    """An untrusted document with type-checked access to its fields."""

    document: Row

    def of(self, key: str, kind: type[Any]) -> Any:
        value = self.document.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise CorruptCheckpoint(f"a manifest has {key}: {value!r:.80}, not a {kind.__name__}")
        return value

    def maybe(self, key: str, kind: type[Any]) -> Any:
        return None if self.document.get(key) is None else self.of(key, kind)

    def count(self, key: str, most: int) -> int:
        number: int = self.of(key, int)
        if not 0 <= number <= most:
            raise CorruptCheckpoint(f"a manifest has {key}: {str(number)[:40]}, expected 0 to {most}")
        return number

    def texts(self, key: str) -> list[str] | None:
        texts: list[str] | None = self.maybe(key, list)
        if not all(isinstance(each, str) for each in texts or ()):
            raise CorruptCheckpoint(f"a manifest has something other than texts in {key}")
        return texts

    def rows(self, key: str) -> list[Row]:
        rows: list[Row] = self.of(key, list)
        if not all(isinstance(row, dict) for row in rows):
            raise CorruptCheckpoint(f"a manifest has something other than objects in {key}")
        return rows


def _named(row: Row, key: str) -> Row:
    """Return a row unchanged after checking the fields that readers rely on: a name, and for tensors shape and hash.

    Raises:
        CorruptCheckpoint: a field is missing or invalid.
    """
    reading = _Reading(row)
    reading.of("name", str)
    if key == "tensors":
        shape = reading.of("shape", list)
        reading.of("dtype", str)
        is_shape = all(type(size) is int and 0 <= size <= LARGEST for size in shape)
        if not is_shape or not is_hash(reading.of("sha256", str)):
            raise CorruptCheckpoint(f"a manifest has the tensor {row!r:.200}, which is not valid")
    if key == "layers":
        if row.get("parameters") is not None:
            reading.count("parameters", LARGEST)
        reading.texts("variables")
    return row


def _card(card: Row) -> Row:
    """Return a model card unchanged after checking the types of its fields.

    Raises:
        CorruptCheckpoint: a field has the wrong type.
    """
    reading = _Reading(card)
    for key in CARD_TEXTS:
        reading.maybe(key, str)
    for key in CARD_LISTS:
        reading.texts(key)
    for row in reading.rows("metrics") if card.get("metrics") is not None else ():
        value = row.get("value", "")  # a metric without the key is invalid; null is not
        if not isinstance(row.get("name"), str) or not (value is None or is_measure(value)):
            raise CorruptCheckpoint(f"a manifest has the metric {row!r:.200}, which is not valid")
    return card


def _files(rows: Sequence[Row], name: str) -> tuple[StoredFile, ...]:
    if len(rows) > MOST_FILES:
        raise CorruptCheckpoint(f"{name}: its manifest lists {len(rows)} files, at most {MOST_FILES} are allowed")
    readings = map(_Reading, rows)
    files = tuple(
        StoredFile(row.of("path", str), row.of("sha256", str), row.count("bytes", LARGEST)) for row in readings
    )
    for file in files:
        safe_path(file.path, name)
        if not is_hash(file.sha256):
            raise CorruptCheckpoint(f"{name}: {file.path!r} has the hash {file.sha256!r:.80}")
    paths = [file.path.casefold() for file in files]
    beneath = {"/".join(parts[:end]) for parts in (path.split("/") for path in paths) for end in range(1, len(parts))}
    if not files or len(set(paths)) < len(paths) or beneath & set(paths):
        raise CorruptCheckpoint(f"{name}: its manifest lists no files, or two under one path")
    return files


def is_measure(value: object) -> bool:
    """Return whether an object is a valid value of a metric: a finite number.

    >>> is_measure(0.97), is_measure(True), is_measure(float("nan")), is_measure(10**400)
    (True, False, False, False)
    """
    return type(value) in (int, float) and abs(value) <= sys.float_info.max  # type: ignore[arg-type]


def is_hash(text: str) -> bool:
    """Return whether a string is a SHA-256 in lower-case hexadecimal digits."""
    return _HASH.fullmatch(text) is not None


def safe_path(path: str, name: str) -> str:
    """Return a path unchanged if it stays within the entry's folder on any system, and is not the catalogue's own file.

    Raises:
        CorruptCheckpoint: it does not, or is.
    """
    parts = path.split("/")
    is_bad = [
        part in ("", ".", "..")
        or len(part.encode("utf-8", "replace")) > _LONGEST_PART
        or any(character in "\\:\0" or not character.isprintable() for character in part)
        for part in parts
    ]
    if any(is_bad) or len(path) > _LONGEST_PATH or path.casefold() == KEPT:
        raise CorruptCheckpoint(f"{name} has the path {path!r:.200}, which is not inside its folder")
    return path


KEPT = ".manifest.json"
"""The manifest among the files of an entry, which identifies their revision."""
