"""Text <-> ids by sentencepiece: reserved control symbols first, then bytes, then pieces.

Nothing here knows of audio or models.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import sentencepiece
from numpy.typing import NDArray

from turnout.config import VocabularyConfig
from turnout.errors import GuidanceError, ModelFolderError
from turnout.guidance import Guidance, Task
from turnout.text.pieces import NEUTRAL, SPACE, train_pieces


@dataclass(frozen=True)
class SentencePieceTokenizer:
    """A `Tokenizer`; made by `train` or `from_bytes`."""

    model: bytes
    vocabulary: VocabularyConfig

    @classmethod
    def train(cls, texts: Iterable[str], vocabulary: VocabularyConfig) -> "SentencePieceTokenizer":
        """Learn pieces from texts; frequent words become whole pieces.

        `vocabulary.size` is an upper bound: small corpora give fewer pieces, and the caller goes
        on with `dataclasses.replace(vocabulary, size=tokenizer.size)`. Raises ConfigError.
        """
        return cls(train_pieces(texts, vocabulary), vocabulary)

    @classmethod
    def from_bytes(cls, data: bytes, vocabulary: VocabularyConfig) -> "SentencePieceTokenizer":
        """The tokenizer that `to_bytes` wrote; raises ModelFolderError where it cannot be one."""
        tokenizer = cls(data, vocabulary)
        try:
            missing = [c for c in vocabulary.all_languages if tokenizer._id_of(c) is None]
        except (RuntimeError, UnicodeError) as error:
            raise ModelFolderError(f"the tokenizer is no sentencepiece model: {error}") from error
        if missing:
            raise ModelFolderError(
                f"the tokenizer has no id for {', '.join(missing)}: it belongs to another model"
            )
        return tokenizer

    def to_bytes(self) -> bytes:
        """The sentencepiece model file."""
        return self.model

    @cached_property
    def _processor(self) -> sentencepiece.SentencePieceProcessor:
        processor = sentencepiece.SentencePieceProcessor()
        processor.LoadFromSerializedProto(self.model)
        return processor

    def _id_of(self, name: str) -> int | None:
        """The id of control symbol `name`, or None."""
        found = self._processor.PieceToId(f"<|{name}|>")
        return found if self._processor.IsControl(found) else None

    @cached_property
    def _bytes_of(self) -> list[bytes]:
        """UTF-8 of each id, a space as a space; empty for ids that are no text."""
        processor = self._processor
        table: list[bytes] = []
        for i in range(processor.GetPieceSize()):
            piece = processor.IdToPiece(i)
            if processor.IsByte(i):
                table.append(bytes([int(piece[3:5], 16)]))
            elif processor.IsControl(i) or processor.IsUnknown(i):
                table.append(b"")
            else:
                table.append(piece.replace(SPACE, " ").encode())
        return table

    @cached_property
    def _id_of_byte(self) -> list[int]:
        return [self._processor.PieceToId(f"<0x{byte:02X}>") for byte in range(256)]

    @property
    def kind(self) -> str:
        """What a model folder calls this implementation."""
        return "sentencepiece"

    @property
    def size(self) -> int:
        """How many ids there are."""
        return self._processor.GetPieceSize()

    @property
    def pieces(self) -> tuple[str, ...]:
        """What each id stands for, as a name that no other id has."""
        return tuple(self._processor.IdToPiece(i) for i in range(self.size))

    @property
    def blank(self) -> int:
        """CTC's blank, and padding."""
        return self._processor.pad_id()

    @property
    def start(self) -> int:
        """What every decoder row begins with."""
        return self._processor.bos_id()

    @property
    def end(self) -> int:
        """What every decoder row ends with."""
        return self._processor.eos_id()

    @property
    def previous(self) -> None:
        """A prompt holds no previous text."""
        return None

    @property
    def no_speech(self) -> None:
        """There is no such id: CTC tells where nothing is said."""
        return None

    def task(self, task: Task | None) -> int:
        """The id of a task, or of the neutral token that stands in its place."""
        found = self._id_of(task.value if task is not None else NEUTRAL)
        assert found is not None
        return found

    # Properties over cached ones: to a type checker, a cached property is no Protocol's property.
    @property
    def language_ids(self) -> dict[str, int]:
        """Language code -> id, spoken languages first."""
        return self._language_ids

    @cached_property
    def _language_ids(self) -> dict[str, int]:
        found = {code: self._id_of(code) for code in self.vocabulary.all_languages}
        return {code: i for code, i in found.items() if i is not None}

    def language(self, code: str | None) -> int:
        """The id of a language; raises GuidanceError, naming the known ones."""
        if code is None or code not in self.language_ids:
            given = "no language was given" if code is None else f"the language '{code}' is unknown"
            raise GuidanceError(f"{given}: choose one of {', '.join(self.language_ids)}")
        return self.language_ids[code]

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

    def encode(self, text: str) -> list[int]:
        """Ids of the text, none of them reserved; `decode` gives the text back."""
        # A literal U+2581 would come back as a space: from the first one on, bytes are spelled.
        head, mark, tail = text.partition(SPACE)
        ids: list[int] = self._processor.EncodeAsIds(head) if head else []
        return ids + [self._id_of_byte[byte] for byte in (mark + tail).encode()]

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of these ids; those that are no text are skipped, broken UTF-8 is replaced."""
        data = b"".join(self.bytes_of(tokens))
        return data.removeprefix(b" ").decode("utf-8", "replace")

    def bytes_of(self, tokens: Iterable[int]) -> list[bytes]:
        """UTF-8 of each id, which may be a part of a letter; empty for one that is no text."""
        table = self._bytes_of
        return [table[i] if 0 <= i < len(table) else b"" for i in tokens]

    def prompt(self, guidance: Guidance, task_token: bool) -> list[int]:
        """What a decoder row is forced to begin with: start, language, task, target language.

        The neutral token stands in the task's place where `task_token` is off; the target is the
        spoken language where nothing is translated. Raises GuidanceError for unknown languages.
        """
        translating = guidance.task is Task.TRANSLATE
        target = guidance.target_language if translating else guidance.language
        task = self.task(guidance.task if task_token else None)
        return [self.start, self.language(guidance.language), task, self.language(target)]
