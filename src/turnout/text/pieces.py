"""Texts -> a sentencepiece model: which pieces a vocabulary learns, and where its reserved ids lie.

Languages with spaces are learned in words, those without in strings of letters that several
sentences share: what stands between two spaces is a whole sentence there.
"""

import io
import logging
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import sentencepiece

from turnout.config import VocabularyConfig
from turnout.errors import ConfigError
from turnout.guidance import Task

SPACE = "\u2581"  # how sentencepiece writes a space inside pieces
FIRST_TASK, FIRST_LANGUAGE, FIRST_BYTE = 4, 16, 64
"""Ids; bytes come later where there are more than 48 languages."""
BLANK, UNKNOWN, START, END = "<|blank|>", "<|unknown|>", "<|start|>", "<|end|>"
NEUTRAL = "notask"
LONGEST_PIECE = 24
LONGEST_WORD = 256  # sentencepiece leaves out lines of more than 4192 bytes
MOST_SEED_WORDS = 100_000
MOST_SEEDS = 1_000_000
REPETITIONS = (1, 100, 10_000)
"""Of texts that are too few: sentencepiece drops what it expects less than half a time."""
CHINESE = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3041-\u312f\u31a0-\u31bf\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U000323af"
)
"""Letters of Chinese and Japanese, written without spaces."""
INDOCHINESE = "\u0e00-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\ua9e0-\ua9ff\uaa60-\uaa7f"
"""Thai, Lao, Tibetan, Burmese, Khmer and their neighbours, likewise."""
RUN = re.compile(f"([{CHINESE}]+)|([{INDOCHINESE}]+)|[^{CHINESE}{INDOCHINESE}]+")
LONGEST_UNSPACED = (4, 8)
"""Letters of a piece: nearly all words of these scripts are shorter."""
BY_BYTES_WORTH_SAYING = 0.01
"""Share of the letters."""

logger = logging.getLogger("turnout")


def train_pieces(texts: Iterable[str], vocabulary: VocabularyConfig) -> bytes:
    """A unigram model whose candidate pieces include every whole word.

    sentencepiece's own candidates are substrings shared by several words, so that a small corpus
    would spell its words; byte pairs spend the vocabulary on steps towards a word.
    """
    words = words_of(texts)
    reserved = FIRST_TASK + len(reserved_symbols(vocabulary.all_languages)) + 256
    room = vocabulary.size - reserved
    if not words:
        raise ConfigError("the tokenizer needs texts to learn from, and all of them are empty")
    if room < 2:
        raise ConfigError(
            f"vocabulary.size is {vocabulary.size}: reserved ids and bytes alone need "
            f"{reserved}, so take at least {reserved + 32}"
        )
    words = of_common_characters(words, room)
    with tempfile.TemporaryDirectory() as folder:
        seeds = Path(folder) / "seeds.tsv"
        seeds.write_text(
            "".join(f"{piece}\t{weight}\n" for piece, weight in candidates(words)), encoding="utf-8"
        )
        # The model file records where its seeds lay: keep it the same from run to run.
        place = str(seeds).encode()
        return trained(words, seeds, vocabulary).replace(place, b"-" * len(place))


def trained(words: Counter[str], seeds: Path, vocabulary: VocabularyConfig) -> bytes:
    """sentencepiece's model of these words; raises ConfigError."""
    for times in REPETITIONS:
        output = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.Train(
                sentence_iterator=repeated(words, times),
                model_writer=output,
                seed_sentencepieces_file=str(seeds),
                vocab_size=vocabulary.size,
                **FIXED,
                control_symbols=reserved_symbols(vocabulary.all_languages),
            )
            return output.getvalue()
        except RuntimeError as error:
            if "no pieces" not in str(error) or times == REPETITIONS[-1]:
                raise ConfigError(f"the tokenizer cannot be trained: {error}") from error
    raise AssertionError("the last repetition returns or raises")


FIXED = {
    "model_type": "unigram",
    "byte_fallback": True,
    # the defaults rewrite characters and collapse spaces
    "normalization_rule_name": "identity",
    "remove_extra_whitespaces": False,
    "hard_vocab_limit": False,
    "max_sentencepiece_length": LONGEST_PIECE,
    "character_coverage": 1.0,
    "pad_id": 0,
    "unk_id": 1,
    "bos_id": 2,
    "eos_id": 3,
    "pad_piece": BLANK,
    "unk_piece": UNKNOWN,
    "bos_piece": START,
    "eos_piece": END,
    "num_threads": 1,
    "minloglevel": 2,
}


def reserved_symbols(languages: Sequence[str]) -> list[str]:
    """Control symbols in the order of their ids, from FIRST_TASK to below FIRST_BYTE, or as far
    beyond as the languages need."""
    names = [*(task.value for task in Task), NEUTRAL]
    names += [f"reserved{i}" for i in range(FIRST_TASK + len(names), FIRST_LANGUAGE)]
    names += languages
    names += [f"reserved{i}" for i in range(FIRST_TASK + len(names), FIRST_BYTE)]
    return [f"<|{name}|>" for name in names]


def words_of(texts: Iterable[str]) -> Counter[str]:
    """What stands between spaces, the longest in parts."""
    split = (text.replace(SPACE, " ").split() for text in texts)
    return Counter(
        word[first : first + LONGEST_WORD]
        for found in split
        for word in found
        for first in range(0, len(word), LONGEST_WORD)
    )


def candidates(words: Counter[str]) -> list[tuple[str, int]]:
    """Whole words and their substrings, weighted by occurrences times length.

    Of letters that are written without spaces, only what several words (there: sentences) have.
    """
    weights: Counter[str] = Counter()
    shared: Counter[str] = Counter()
    for bare, count in words.most_common(MOST_SEED_WORDS):
        word = SPACE + bare
        unspaced: set[str] = set()
        for run in RUN.finditer(word):
            longest = LONGEST_UNSPACED[run.lastindex - 1] if run.lastindex else LONGEST_PIECE
            for piece in substrings(run[0], longest):
                weights[piece] += count * len(piece)
                if run.lastindex:
                    unspaced.add(piece)
        shared.update(unspaced)
        if len(word) <= LONGEST_PIECE and not unspaced:
            weights[word] += count * len(word)
    for piece, sentences in shared.items():
        if sentences == 1:
            del weights[piece]
    return weights.most_common(MOST_SEEDS)


def substrings(text: str, longest: int) -> Iterator[str]:
    """Those of at least two letters."""
    for first in range(len(text)):
        for last in range(first + 2, min(len(text), first + longest) + 1):
            yield text[first:last]


def of_common_characters(words: Counter[str], room: int) -> Counter[str]:
    """The words without their rare characters, which bytes spell: each character costs a piece,
    and half of the room is for pieces of several (a tenth, where each character is a syllable)."""
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            counts[character] += count
    written = sum(counts.values())
    chinese = sum(n for letter, n in counts.items() if re.match(f"[{CHINESE}]", letter))
    # Where letters are syllables, what a rare one parts is no piece; words are few without theirs.
    most, gap = (max(room * 9 // 10, 1), " ") if 2 * chinese > written else (room // 2, "")
    if len(counts) <= most:
        return words
    kept = {character for character, _ in counts.most_common(most)}
    spelled = 1 - sum(counts[character] for character in kept) / written
    if spelled > BY_BYTES_WORTH_SAYING:
        logger.warning(
            "the vocabulary has room for %d of the %d characters of the texts: bytes spell %.0f %% "
            "of what is written, up to four ids for each; a vocabulary.size larger by %d would "
            "hold them all",
            most, len(counts), 100 * spelled, len(counts) * room // most - room + 1,
        )  # fmt: skip
    reduced: Counter[str] = Counter()
    for word, count in words.items():
        for part in "".join(c if c in kept else gap for c in word).split():
            reduced[part] += count
    return reduced


def repeated(words: Counter[str], times: int) -> Iterable[str]:
    """Each word as often as it occurs (at most a thousand times), for sentencepiece to count."""
    scale = max(1, words.most_common(1)[0][1] // 1000)
    for word, count in words.items():
        for _ in range(max(1, count // scale) * times):
            yield word
