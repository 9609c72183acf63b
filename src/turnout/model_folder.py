"""A model folder: its files, verified by digest before a byte is used, written whole or not at all.

No checkpoint format notices a flipped bit by itself, so SHA256SUMS covers every file but the model
card, which people edit. Files are read into memory, never mapped: one that is swapped or cut while
it serves cannot bring the process down. Nothing here knows what the weights or graphs compute.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple

from turnout.config import ModelConfig, VocabularyConfig
from turnout.config.plain import from_plain, nearest, to_plain
from turnout.errors import ConfigError, MissingModel, ModelFolderError, StorageError, shown
from turnout.files import open_regular, sha256_of, whole_folder, write_synced
from turnout.guidance import Task
from turnout.text.sentencepieces import SentencePieceTokenizer
from turnout.text.tokenizer import Tokenizer
from turnout.text.whisper import WhisperTokenizer

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
ENCODER = "encoder.onnx"
DECODER = "decoder.onnx"
CARD = "README.md"
DIGESTS = "SHA256SUMS"
MODEL_TYPE = "turnout"
FORMAT_VERSION = 2
READ_VERSIONS = (1, FORMAT_VERSION)
"""In version 1 the graphs hold the weights as well, and every tokenizer is sentencepiece's."""


class TokenizerFile(NamedTuple):
    """Where a folder has the tokenizer, and what reads it."""

    name: str
    read: Callable[[bytes, VocabularyConfig], Tokenizer]


TOKENIZERS: dict[str, TokenizerFile] = {
    "sentencepiece": TokenizerFile("tokenizer.model", SentencePieceTokenizer.from_bytes),
    "whisper": TokenizerFile("tokenizer.json", WhisperTokenizer.from_bytes),
}
"""By what config.json calls it."""
TOKENIZER = TOKENIZERS["sentencepiece"].name
MOST_REPLACED = 10
"""How often a folder may give way to another while it is opened."""
SHIPPED = Path(__file__).parent / "models"
DEFAULT_MODEL = "commands"


@dataclass(frozen=True)
class ModelFolder:
    """A folder whose files were found to be what was once written; made by `open`."""

    path: Path
    digests: Mapping[str, str]
    """File name -> SHA-256, in hexadecimal."""

    @classmethod
    def open(cls, path: str | Path) -> "ModelFolder":
        """Check that nothing is missing or damaged; raises ModelFolderError, naming the file."""
        path = Path(path)
        for _ in range(MOST_REPLACED):
            with _held(path) as before:
                try:
                    return cls._checked(path)
                except ModelFolderError:
                    # Half of the old files and half of the new, where it was replaced meanwhile.
                    with _held(path) as after:
                        if after == before:
                            raise
        return cls._checked(path)

    @classmethod
    def _checked(cls, path: Path) -> "ModelFolder":
        if not path.is_dir():
            what = "is a file" if path.exists() else "does not exist"
            raise ModelFolderError(f"model folder {path}: {what}: a folder with {CONFIG} is needed")
        folder = cls(path, read_digests(path))
        folder.require(CONFIG)
        if not any(folder.has(tokenizer.name) for tokenizer in TOKENIZERS.values()):
            folder.require(TOKENIZER)
        if not (folder.has(WEIGHTS) or folder.has(ENCODER)):
            raise ModelFolderError(
                f"model folder {path}: holds neither {WEIGHTS} nor {ENCODER}: one of them is needed"
            )
        with ExitStack() as files, ThreadPoolExecutor() as pool:
            # All are opened before one is read through, lest another model come in between.
            content = {name: files.enter_context(opened(path, name)) for name in folder.digests}
            list(pool.map(folder._verify, content, content.values()))
        return folder

    def has(self, name: str) -> bool:
        """Whether the file belongs to the model."""
        return name in self.digests

    def require(self, name: str) -> None:
        """Raise ModelFolderError where the model has no such file."""
        if not self.has(name):
            raise ModelFolderError(
                f"model folder {self.path}: {name} is not listed in {DIGESTS}: the folder is not "
                "complete, fetch or save it again"
            )

    def _verify(self, name: str, file: BufferedReader) -> None:
        self._compare(name, hashlib.file_digest(file, "sha256").hexdigest())

    def read(self, name: str) -> bytes:
        """The file's bytes, verified themselves: the file may have changed since `open`."""
        self.require(name)
        data = read_bytes(self.path, name)
        self._compare(name, sha256_of(data))
        return data

    def _compare(self, name: str, digest: str) -> None:
        if digest != self.digests[name]:
            raise ModelFolderError(
                f"model folder {self.path}: {name} is damaged (its SHA-256 is not the one in "
                f"{DIGESTS}): fetch or save the model again"
            )

    @cached_property
    def _content(self) -> dict[str, Any]:
        return parse_config(self.read(CONFIG), self.path)

    @cached_property
    def config(self) -> ModelConfig:
        """The model's shape; raises ModelFolderError, naming the key, where it cannot be."""
        try:
            return from_plain(ModelConfig, self._content["model"], "model")
        except ConfigError as error:
            raise ModelFolderError(f"model folder {self.path}: {CONFIG}: {error}") from error

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Raises ModelFolderError where its ids are not those that the weights were trained on."""
        name, read = TOKENIZERS[self._content["tokenizer"]]
        data = self.tokenizer_bytes
        try:
            tokenizer = read(data, self.config.vocabulary)
        except ModelFolderError as error:
            raise ModelFolderError(f"model folder {self.path}: {name}: {error}") from error
        recorded = self._content["reserved_ids"]
        if recorded != reserved_ids(tokenizer) or tokenizer.size > self.config.vocabulary.size:
            raise ModelFolderError(
                f"model folder {self.path}: {name} has other ids than {CONFIG} says: the two "
                "files belong to different models"
            )
        return tokenizer

    @property
    def tokenizer_bytes(self) -> bytes:
        """The content of the tokenizer's file."""
        return self.read(TOKENIZERS[self._content["tokenizer"]].name)

    @property
    def has_graphs(self) -> bool:
        """Whether ONNX Runtime can run this model."""
        return self.has(ENCODER) and (self.has(DECODER) or not self.config.decoder.num_layers)

    def files(self) -> dict[str, bytes]:
        """Every file with its bytes, the card included: what `write_folder` takes."""
        files = {name: self.read(name) for name in self.digests}
        if (self.path / CARD).is_file():
            files[CARD] = read_bytes(self.path, CARD)
        return files


@contextmanager
def _held(path: Path) -> Iterator[tuple[int, int] | None]:
    """What tells a folder from the one that takes its place, None where there is none; as long as
    it is held no other folder is given its number."""
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        yield None
        return
    try:
        status = os.fstat(folder)
        yield status.st_dev, status.st_ino
    finally:
        os.close(folder)


def resolve(name: str | Path | None = None) -> Path:
    """The folder of a model that ships with turnout, or of a path; the default one for None.

    Raises MissingModel, naming the models that ship.
    """
    if name is None:
        name = DEFAULT_MODEL
    shipped = shipped_models()
    if str(name) in shipped:
        return SHIPPED / str(name)
    if Path(name).exists():
        return Path(name)
    names = ", ".join(shipped) or "none in this installation"
    raise MissingModel(
        f"no model '{name}': give the path of a model folder, or the name of one that ships "
        f"({names})"
    )


def shipped_models() -> tuple[str, ...]:
    """Names of the models inside the package."""
    if not SHIPPED.is_dir():
        return ()
    return tuple(sorted(entry.name for entry in SHIPPED.iterdir() if (entry / DIGESTS).is_file()))


def config_bytes(config: ModelConfig, tokenizer: Tokenizer) -> bytes:
    """The content of `config.json`."""
    content = {
        "model_type": MODEL_TYPE,
        "format_version": FORMAT_VERSION,
        "model": to_plain(config),
        "tokenizer": tokenizer.kind,
        "reserved_ids": reserved_ids(tokenizer),
    }
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def reserved_ids(tokenizer: Tokenizer) -> dict[str, Any]:
    """The ids that stand for no text, by name."""
    tasks = {str(task): tokenizer.task(task) for task in Task}
    return {
        "blank": tokenizer.blank,
        "start": tokenizer.start,
        "end": tokenizer.end,
        **tasks,
        "no_task": tokenizer.task(None),
        "languages": dict(tokenizer.language_ids),
    }


def parse_config(data: bytes, folder: Path) -> dict[str, Any]:
    """The top level of `config.json`, its keys and its format version checked."""
    place = f"model folder {folder}: {CONFIG}"
    known: dict[str, None] = dict.fromkeys(
        ("model_type", "format_version", "model", "tokenizer", "reserved_ids")
    )
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ModelFolderError(f"{place}: is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ModelFolderError(f"{place}: must hold an object with {', '.join(known)}")
    version = content.get("format_version")
    if isinstance(version, bool) or version not in READ_VERSIONS:
        raise ModelFolderError(
            f"{place}: format_version is {version!r}: this turnout reads versions "
            f"{' and '.join(map(str, READ_VERSIONS))}; install the turnout that wrote the model, "
            "or a newer one"
        )
    if version == 1:
        content = {**content, "tokenizer": "sentencepiece"}
    for key in content:
        if key not in known:
            raise ModelFolderError(f"{place}: unknown key '{key}'{nearest(key, known)}")
    for key in known:
        if key not in content:
            raise ModelFolderError(f"{place}: key '{key}' is missing")
    if content["model_type"] != MODEL_TYPE:
        found = content["model_type"]
        raise ModelFolderError(f"{place}: model_type is {found!r}: '{MODEL_TYPE}' is read here")
    if content["tokenizer"] not in list(TOKENIZERS):  # what JSON holds may have no hash
        raise ModelFolderError(
            f"{place}: tokenizer is {shown(content['tokenizer'])}: this turnout has "
            f"{', '.join(TOKENIZERS)}"
        )
    return content


def read_digests(path: Path) -> dict[str, str]:
    """The content of SHA256SUMS; raises ModelFolderError for a line that is none."""
    digests: dict[str, str] = {}
    text = read_bytes(path, DIGESTS).decode("utf-8", "replace")
    for number, line in enumerate(text.splitlines(), start=1):
        digest, _, name = line.partition("  ")
        if len(digest) != 64 or not name or Path(name).name != name:
            raise ModelFolderError(
                f"model folder {path}: {DIGESTS} line {number} is not 'SHA-256  file name': the "
                "file is damaged, fetch or save the model again"
            )
        digests[name] = digest
    return digests


def read_bytes(folder: Path, name: str) -> bytes:
    """A file's bytes; raises ModelFolderError."""
    with opened(folder, name) as file:
        return file.read()


@contextmanager
def opened(folder: Path, name: str) -> Iterator[BufferedReader]:
    """A file to be read; raises ModelFolderError where it is not there or cannot be."""
    try:
        with open_regular(folder / name) as file:
            yield file
    except OSError as error:
        reason = f"cannot be read: {(error.strerror or str(error)).lower()}"
        if isinstance(error, FileNotFoundError):
            reason = "is missing: the folder is no model or not complete, fetch or save it again"
        raise ModelFolderError(f"model folder {folder}: {name} {reason}") from error


def write_folder(path: str | Path, files: Mapping[str, bytes | Iterable[bytes]]) -> None:
    """Write a model folder whole or not at all, digests included; another model gives way to it,
    and what lies beside that model's files stays. What memory may not hold comes in parts.

    Raises StorageError, and leaves what was there, where there is no space or no permission, or
    something that is no model.
    """
    path = Path(path).resolve()
    try:
        with whole_folder(path, files_of_model(path)) as partial:
            digests: dict[str, str] = {}
            for name, data in files.items():
                digest = hashlib.sha256(data if isinstance(data, bytes) else b"")
                parts = data if isinstance(data, bytes) else _passing(data, digest.update)
                write_synced(partial / name, parts)
                digests[name] = digest.hexdigest()
            write_synced(partial / DIGESTS, digest_lines(digests))
    except OSError as error:
        raise StorageError(
            f"{path}: the model cannot be written: {(error.strerror or str(error)).lower()}"
        ) from error


def files_of_model(path: Path) -> frozenset[str]:
    """Names of the files of the model at `path`; none where there is nothing.

    Raises StorageError where something else is there: it would be lost.
    """
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return frozenset()
    try:
        listed = read_digests(path)
        parse_config(read_bytes(path, CONFIG), path)
    except (ModelFolderError, OSError) as error:
        raise StorageError(
            f"{path}: exists and is not a model folder: choose another path"
        ) from error
    return frozenset({*listed, CARD, DIGESTS})


def _passing(parts: Iterable[bytes], see: Callable[[bytes], None]) -> Iterator[bytes]:
    for part in parts:
        see(part)
        yield part


def digest_lines(digests: Mapping[str, str]) -> bytes:
    """The content of SHA256SUMS, as sha256sum writes it."""
    lines = [f"{digest}  {name}\n" for name, digest in sorted(digests.items()) if name != CARD]
    return "".join(lines).encode()
