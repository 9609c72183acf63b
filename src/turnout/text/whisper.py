"""Text <-> ids of Whisper's tokenizers (arXiv 2212.04356): byte-level BPE as tokenizer.json has it.

Whatever stands for no text is found by its name: each size of Whisper lays it elsewhere.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.config import VocabularyConfig
from turnout.errors import GuidanceError, MissingExtra, ModelFolderError, shown
from turnout.guidance import Guidance, Task

START, END, PREVIOUS = "<|startoftranscript|>", "<|endoftext|>", "<|startofprev|>"
NO_TIMESTAMPS = "<|notimestamps|>"
NO_SPEECH = ("<|nospeech|>", "<|nocaptions|>")
"""What later and earlier checkpoints call the same id."""
LANGUAGE = re.compile(r"<\|([a-z]{2,3})\|>")
MOST_IDS = 1_000_000
"""A damaged or hostile file must not make tables of any size."""


@dataclass(frozen=True)
class WhisperTokenizer:
    """A `Tokenizer`; made by `from_bytes`."""

    data: bytes
    vocabulary: VocabularyConfig
    _ids: Mapping[str, int]
    """Of BPE's pieces and of the special tokens."""
    _special: frozenset[str]

    @classmethod
    def from_bytes(cls, data: bytes, vocabulary: VocabularyConfig) -> "WhisperTokenizer":
        """The tokenizer of a tokenizer.json; raises ModelFolderError where it cannot be one."""
        pieces, added = read_tokenizer(data)
        tokenizer = cls(data, vocabulary, {**pieces, **added}, frozenset(added))
        wanted = (START, END, NO_TIMESTAMPS, *(f"<|{code}|>" for code in tokenizer._codes))
        if missing := [name for name in wanted if name not in added]:
            raise ModelFolderError(
                f"the tokenizer has no id for {', '.join(missing)}: it is not Whisper's, or "
                "belongs to another model"
            )
        return tokenizer

    def to_bytes(self) -> bytes:
        """The tokenizer.json."""
        return self.data

    @property
    def _codes(self) -> tuple[str, ...]:
        return self.vocabulary.all_languages

    @cached_property
    def _bytes_of(self) -> list[bytes]:
        """UTF-8, perhaps a part of a character, of each id; empty for ids that are no text."""
        table = [b""] * (max(self._ids.values()) + 1)
        for piece, i in self._ids.items():
            if piece not in self._special:
                table[i] = bytes(BYTE_OF[character] for character in piece)
        return table

    @property
    def kind(self) -> str:
        """What a model folder calls this implementation."""
        return "whisper"

    @property
    def size(self) -> int:
        """How many ids there are."""
        return len(self._bytes_of)

    @property
    def pieces(self) -> tuple[str, ...]:
        """What each id stands for, as a name that no other id has."""
        names = [f"<{i}>" for i in range(self.size)]
        for piece, i in self._ids.items():
            names[i] = piece
        return tuple(names)

    @property
    def blank(self) -> int:
        """Padding; there is no CTC head that would need a blank."""
        return self.end

    @property
    def start(self) -> int:
        """What every decoder row begins with, but for a previous text."""
        return self._ids[START]

    @property
    def end(self) -> int:
        """What every decoder row ends with."""
        return self._ids[END]

    @property
    def no_speech(self) -> int | None:
        """The id that follows `start` where nothing is said; None where there is none."""
        return next((self._ids[name] for name in NO_SPEECH if name in self._special), None)

    @property
    def previous(self) -> int | None:
        """The id before a previous text; None where there is none."""
        return self._ids.get(PREVIOUS)

    def task(self, task: Task | None) -> int:
        """The id of a task; the last of the prompt's where there is none."""
        return self._ids[NO_TIMESTAMPS if task is None else f"<|{task.value}|>"]

    # Properties over cached ones: to a type checker, a cached property is no Protocol's property.
    @property
    def language_ids(self) -> dict[str, int]:
        """Language code -> id."""
        return {code: self._ids[f"<|{code}|>"] for code in self._codes}

    def language(self, code: str | None) -> int:
        """The id of a language; raises GuidanceError, naming the known ones."""
        if code is None or code not in self._codes:
            given = "no language was given" if code is None else f"the language '{code}' is unknown"
            raise GuidanceError(f"{given}: choose one of {', '.join(self._codes)}")
        return self._ids[f"<|{code}|>"]

    @property
    def text_mask(self) -> NDArray[np.bool_]:
        """[size]: True where an id stands for text."""
        return self._masks[0]

    @property
    def word_start_mask(self) -> NDArray[np.bool_]:
        """[size]: True where an id begins with a space."""
        return self._masks[1]

    @cached_property
    def _masks(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        texts = self._bytes_of
        return np.array([bool(text) for text in texts]), np.array(
            [text.startswith(b" ") for text in texts]
        )

    @cached_property
    def _encoder(self) -> Any:
        if find_spec("tokenizers") is None:
            raise MissingExtra("cutting a text into Whisper's tokens", "hub")
        from tokenizers import Tokenizer  # noqa: PLC0415 - reading ids needs none

        # Without special tokens: one that a text spells out is text.
        plain = {**json.loads(self.data), "added_tokens": [], "post_processor": None}
        return Tokenizer.from_str(json.dumps({**plain, "truncation": None, "padding": None}))

    def encode(self, text: str) -> list[int]:
        """Ids of the text, none of them reserved; `decode` gives the text back.

        A text begins with a space, as those that Whisper learned from do. Raises MissingExtra.
        """
        return list(self._encoder.encode(f" {text}").ids) if text else []

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of these ids; those that are no text are skipped, broken UTF-8 is replaced."""
        data = b"".join(self.bytes_of(tokens))
        return data.removeprefix(b" ").decode("utf-8", "replace")

    def bytes_of(self, tokens: Iterable[int]) -> list[bytes]:
        """UTF-8 of each id, which may be a part of a letter; empty for one that is no text."""
        table = self._bytes_of
        return [table[i] if 0 <= i < len(table) else b"" for i in tokens]

    def prompt(self, guidance: Guidance, task_token: bool) -> list[int]:
        """What a decoder row is forced to begin with: start, language, task, no time stamps.

        Without `task_token` it names neither language nor task: checkpoints for English alone.
        Raises GuidanceError for unknown languages.
        """
        if not task_token:
            return [self.start, self.task(None)]
        asked = [self.language(guidance.language), self.task(guidance.task)]
        return [self.start, *asked, self.task(None)]


def read_tokenizer(data: bytes) -> tuple[dict[str, int], dict[str, int]]:
    """Ids of BPE's pieces and of the special tokens; raises ModelFolderError where a tokenizer.json
    is none of byte-level BPE."""
    try:
        content = json.loads(data)
        model, added = content["model"], content["added_tokens"]
        pieces = dict(model["vocab"]) if model["type"] == "BPE" else {}
        special = {token["content"]: token["id"] for token in added}
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise ModelFolderError(
            f"the tokenizer is no tokenizer.json ({shown(str(error))})"
        ) from error
    for name, i in (*pieces.items(), *special.items()):
        if not isinstance(name, str) or type(i) is not int or not 0 <= i < MOST_IDS:
            raise ModelFolderError(f"the tokenizer has the id {shown(i)} for {shown(name)}")
    strange = next((p for p in pieces if p not in special and not BYTE_OF.keys() >= set(p)), None)
    if strange is not None or not pieces:
        found = "no BPE" if strange is None else f"the piece {shown(strange)}"
        raise ModelFolderError(f"the tokenizer has {found}: Whisper's is byte-level BPE")
    return pieces, special


def languages_of(data: bytes) -> tuple[str, ...]:
    """The languages that a tokenizer.json has ids for, in their order: Whisper's lie between
    `start` and the tasks. Raises ModelFolderError."""
    _, special = read_tokenizer(data)
    found = {i: LANGUAGE.fullmatch(name) for name, i in special.items()}
    return tuple(match[1] for _, match in sorted(found.items()) if match is not None)


def _bytes_by_character() -> dict[str, int]:
    """GPT-2's alphabet: printable Latin-1 stands for itself, the other bytes for what comes behind
    it (Radford et al. 2019)."""
    printable = (*range(33, 127), *range(161, 173), *range(174, 256))
    others = [byte for byte in range(256) if byte not in printable]
    alphabet = {chr(byte): byte for byte in printable}
    return alphabet | {chr(256 + place): byte for place, byte in enumerate(others)}


BYTE_OF = _bytes_by_character()
