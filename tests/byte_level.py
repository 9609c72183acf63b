"""A small tokenizer as Whisper has it: byte-level BPE, and special tokens by Whisper's names."""

from functools import cache

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

LANGUAGES = ("en", "zh", "haw")
SPECIAL = (
    "<|endoftext|>",
    "<|startoftranscript|>",
    *(f"<|{code}|>" for code in LANGUAGES),
    "<|translate|>",
    "<|transcribe|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
    "<|0.00|>",
)
TEXTS = ("the cat sat on the mat", "die Straße ist naß", "一二三四五", "привет мир", "café 😀")


@cache
def tokenizer() -> Tokenizer:
    """A byte-level BPE of a few hundred pieces, as Whisper's is made."""
    found = Tokenizer(models.BPE())
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=330, initial_alphabet=alphabet, show_progress=False)
    found.train_from_iterator([f" {text}" for text in TEXTS], trainer)
    found.add_special_tokens(list(SPECIAL))
    return found
