"""Text <-> ids, whoever cuts the text: what the rest of the house asks of a tokenizer.

Special ids are found by property, never by number: each tokenizer lays them elsewhere.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from turnout.guidance import Guidance, Task


class Tokenizer(Protocol):
    """Ids of text and of what is asked; a model folder says which implementation reads its own."""

    @property
    def kind(self) -> str:
        """What a model folder calls this implementation."""
        ...

    @property
    def size(self) -> int:
        """How many ids there are."""
        ...

    @property
    def pieces(self) -> tuple[str, ...]:
        """What each id stands for, as a name that no other id has."""
        ...

    @property
    def blank(self) -> int:
        """CTC's blank, and padding."""
        ...

    @property
    def start(self) -> int:
        """What every decoder row begins with."""
        ...

    @property
    def end(self) -> int:
        """What every decoder row ends with."""
        ...

    @property
    def previous(self) -> int | None:
        """What stands before a previous text; None where a prompt can hold none."""
        ...

    @property
    def no_speech(self) -> int | None:
        """What follows `start` where nothing is said; None where there is no such id."""
        ...

    @property
    def language_ids(self) -> Mapping[str, int]:
        """Language code -> id, spoken languages first."""
        ...

    @property
    def text_mask(self) -> NDArray[np.bool_]:
        """[size]: True where an id stands for text."""
        ...

    @property
    def word_start_mask(self) -> NDArray[np.bool_]:
        """[size]: True where an id begins with a space."""
        ...

    def task(self, task: Task | None) -> int:
        """The id of a task, or of the neutral token that stands in its place."""
        ...

    def language(self, code: str | None) -> int:
        """The id of a language; raises GuidanceError, naming the known ones."""
        ...

    def encode(self, text: str) -> list[int]:
        """Ids of the text, none of them reserved; `decode` gives the text back."""
        ...

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of these ids; those that are no text are skipped, broken UTF-8 is replaced."""
        ...

    def bytes_of(self, tokens: Iterable[int]) -> list[bytes]:
        """UTF-8 of each id, which may be a part of a letter; empty for one that is no text."""
        ...

    def prompt(self, guidance: Guidance, task_token: bool) -> list[int]:
        """What a decoder row is forced to begin with, `start` first; a previous text would stand
        before it.

        Raises GuidanceError for unknown languages.
        """
        ...

    def to_bytes(self) -> bytes:
        """The content of the file that the implementation reads."""
        ...
