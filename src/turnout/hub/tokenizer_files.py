"""The tokenizer.json of a checkpoint's folder: its own, or made of the three files that older
repositories have in its place."""

import json
import re
from pathlib import Path
from typing import Any

from turnout.errors import shown
from turnout.hub.stored import read_object, read_small, refused

TOKENIZER = "tokenizer.json"
VOCABULARY, MERGES, ADDED = "vocab.json", "merges.txt", "added_tokens.json"
MOST_TOKENIZER = 32 << 20
"""Bytes of a tokenizer.json: Whisper's have 4 million."""
SPECIAL = re.compile(r"<\|.+\|>")
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}


def read_tokenizer_file(folder: Path) -> bytes:
    """The content of a tokenizer.json; raises ModelFolderError where there is none to be had."""
    if (folder / TOKENIZER).exists():
        return read_small(folder / TOKENIZER, MOST_TOKENIZER)
    missing = [name for name in (VOCABULARY, MERGES, ADDED) if not (folder / name).exists()]
    if missing:
        raise refused(
            folder,
            f"has no {TOKENIZER}, nor {', '.join(missing)} to make one of: put the {TOKENIZER} of "
            "the checkpoint's repository there",
        )
    return joined(folder)


def joined(folder: Path) -> bytes:
    """A tokenizer.json of vocab.json, merges.txt and added_tokens.json, byte-level BPE as GPT-2's
    is; raises ModelFolderError."""
    vocabulary = read_object(folder / VOCABULARY)
    # The end of the text is among the pieces: English checkpoints have GPT-2's own vocabulary.
    special = {name: i for name, i in vocabulary.items() if SPECIAL.fullmatch(name)}
    added = {**special, **read_object(folder / ADDED)}
    for name, i in (*vocabulary.items(), *added.items()):
        if type(i) is not int:
            raise refused(folder, f"its tokenizer has the id {shown(i)} for {shown(name)}")
    tokens = sorted(added.items(), key=lambda token: token[1])
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [added_token(name, i) for name, i in tokens],
        "normalizer": None,
        "pre_tokenizer": {**BYTE_LEVEL, "use_regex": True},
        "post_processor": None,
        "decoder": {**BYTE_LEVEL, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "vocab": vocabulary,
            "merges": read_merges(folder / MERGES),
        },
    }
    return json.dumps(content, ensure_ascii=False).encode()


def added_token(name: str, i: int) -> dict[str, Any]:
    """An entry of `added_tokens`; a text that holds one is not searched for it here."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": i, "content": name, **flags, "special": True}


def read_merges(path: Path) -> list[str]:
    """The pairs of a merges.txt, in order; raises ModelFolderError."""
    text = read_small(path).decode("utf-8", "replace")
    lines = [line for line in text.split("\n") if line and not line.startswith("#version")]
    for line in lines:
        if len(line.split(" ")) != 2:
            raise refused(path, f"has the line {shown(line)}: two pieces are needed")
    return lines
