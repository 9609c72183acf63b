"""A model on the disk: what its folder holds, and where it is.

Nothing here knows what the weights or graphs compute.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from turnout.config import ModelConfig, VocabularyConfig
from turnout.config.plain import from_plain, nearest, to_plain
from turnout.errors import (
    ConfigError,
    MissingModel,
    ModelFolderError,
    StorageError,
    one_line,
    shown,
)
from turnout.guidance import Task
from turnout.text.sentencepieces import SentencePieceTokenizer
from turnout.text.tokenizer import Tokenizer
from turnout.text.whisper import WhisperTokenizer
from turnout.verified_folder import (
    CARD,
    DIGESTS,
    VerifiedFolder,
    read_bytes,
    read_digests,
    write_verified,
)

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
ENCODER = "encoder.onnx"
DECODER = "decoder.onnx"
MODEL_TYPE = "turnout"
FORMAT_VERSION = 2
INT8_VERSION = 3
READ_VERSIONS = (1, FORMAT_VERSION, INT8_VERSION)
"""In version 1 the graphs hold the weights as well, and every tokenizer is sentencepiece's. Version
3 is version 2 with matrices in int8: in model.safetensors `NAME` is of type I8 then, [out, in], and
`NAME.scale` of F32, [out], holds what one of it stands for in each row; both graphs take both."""


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
SHIPPED = Path(__file__).parent / "models"
DEFAULT_MODEL = "commands"
OF_A_RUN = "model"
"""What a training run calls the folder of its model."""


def called(path: Path) -> str:
    """What a model is called in a line: its folder's name, or that of the training run whose
    `model` it is."""
    path = path.absolute()
    of_a_run = path.name == OF_A_RUN and path.parent.name
    return one_line(path.parent.name if of_a_run else path.name)


@dataclass(frozen=True)
class ModelFolder(VerifiedFolder):
    """A model's files, found to be what was once written; made by `open`."""

    def check_listed(self) -> None:
        """Raise ModelFolderError where files are not listed without which it is no model."""
        self.require(CONFIG)
        if not any(self.has(tokenizer.name) for tokenizer in TOKENIZERS.values()):
            self.require(TOKENIZER)
        if not (self.has(WEIGHTS) or self.has(ENCODER)):
            raise ModelFolderError(
                f"model folder {self.path}: holds neither {WEIGHTS} nor {ENCODER}: one of them is "
                "needed"
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
    def is_int8(self) -> bool:
        """Whether matrices are int8, with which only ONNX Runtime computes; raises
        ModelFolderError."""
        return self._content["format_version"] == INT8_VERSION

    def require_floats(self, what: str) -> None:
        """Raise ModelFolderError where the weights are int8; `what` wants floats, as a sentence
        begins that ends in the model: 'training begins with'."""
        if self.is_int8:
            raise ModelFolderError(
                f"model folder {self.path}: its weights are rounded to int8, with which only ONNX "
                f"Runtime computes: {what} the model that it was made of"
            )

    @property
    def has_graphs(self) -> bool:
        """Whether ONNX Runtime can run this model."""
        return self.has(ENCODER) and (self.has(DECODER) or not self.config.decoder.num_layers)


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
    """Names of the models inside the package; adapters lie there too."""
    return tuple(name for name in shipped() if (SHIPPED / name / CONFIG).is_file())


def shipped() -> tuple[str, ...]:
    """Names of all folders that ship."""
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
            f"{READ_VERSIONS[0]} to {READ_VERSIONS[-1]}; install the turnout that wrote the model, "
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


def write_folder(
    path: str | Path,
    files: Mapping[str, bytes | Iterable[bytes]],
    check: Callable[[Path], None] | None = None,
) -> None:
    """Write a model folder whole or not at all, digests included; another model gives way to it,
    and what lies beside that model's files stays. What memory may not hold comes in parts.

    `check` is called with the whole folder before it takes its place, and may raise. Raises
    StorageError, and leaves what was there, where there is no space or no permission, or something
    that is no model.
    """
    write_verified(Path(path).resolve(), files, files_of_model, check)


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
