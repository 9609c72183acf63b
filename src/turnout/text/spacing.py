"""Which languages put a space between words: where texts are joined, and where errors are counted
in words or in characters."""

import re
from collections.abc import Iterable

UNSPACED = frozenset(
    (
        # Chinese and its kin
        "zh", "zho", "chi", "cmn", "yue", "wuu", "nan", "hak", "gan", "hsn", "cjy", "lzh",
        "ja", "jpn",
        # Thai, Lao and their neighbours
        "th", "tha", "lo", "lao", "nod", "tts", "khb", "tdd",
        "km", "khm",
        "my", "mya", "bur", "shn", "mnw",
        # Tibetan and Dzongkha: a point between syllables
        "bo", "bod", "tib", "dz", "dzo",
    )
)  # fmt: skip
"""ISO 639 codes. Vietnamese and Korean, which write spaces, are not among them."""
LATIN = "latn"
"""The script of transcriptions such as pinyin, which are spaced."""


def spaced(language: str | None) -> bool:
    """Whether a language, a code such as 'en' or 'zh-TW' in any case, puts spaces between words; so
    does one that is not known."""
    code, *rest = re.split("[-_]", (language or "").lower())
    return code not in UNSPACED or LATIN in rest


def joined_text(texts: Iterable[str], language: str | None) -> str:
    """The texts as one, with a space between them where the language has spaces; where one is
    empty, nothing."""
    return (" " if spaced(language) else "").join(filter(None, texts))
