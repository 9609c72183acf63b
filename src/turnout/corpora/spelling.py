"""One spelling for what can be written in several ways: texts, paths, recordings, splits.

This file knows nothing of manifests.
"""

import os
import re
import unicodedata
from collections.abc import Hashable
from pathlib import Path

# Marks without a width, and controls. Not the joiners U+200C and U+200D, which are letters of
# Persian and of the scripts of India; nor tabs and line ends, which are white space.
UNSEEN = (
    "\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"
)
UNSEEN_MARKS = re.compile(f"[{UNSEEN}]")
ENDS = re.compile(rf"\A[\s{UNSEEN}]+|[\s{UNSEEN}]+\Z")
SPLITS = {
    word: split
    for split, words in {
        "train": ("train", "training"),
        "dev": ("dev", "devel", "development", "val", "valid", "validation"),
        "test": ("test", "testing", "eval", "evaluation"),
    }.items()
    for word in words
}
"""What the usual words for a split stand for; those of the library `datasets` are among them."""
BETWEEN_WORDS = re.compile(r"[-._ 0-9/\\]+")


def plain_text(text: str) -> str:
    """The text in Unicode's form NFC, its words parted by one space each.

    No-break, ideographic, doubled, leading and trailing white space goes, and what has no width.
    """
    return " ".join(unicodedata.normalize("NFC", UNSEEN_MARKS.sub("", text)).split())


def trimmed(text: str) -> str:
    """The text without white space, and marks without a width, at its two ends."""
    return ENDS.sub("", text)


def usual_split(name: str) -> str | None:
    """'train', 'dev' or 'test', by the first word of a name that stands for one of them, as in
    'Validation', 'test-clean' or 'train-00000-of-00002'; None where no word does."""
    words = BETWEEN_WORDS.split(name.lower())
    return next((SPLITS[word] for word in words if word in SPLITS), None)


def beside(folder: Path, path: str) -> Path:
    """The audio that a manifest in `folder` names: relative to it, or else to where we are.

    Where nothing is called so, it may be spelled otherwise: with white space around it, in
    another of Unicode's forms, through a folder that is not there, or as Windows parts folders.
    """
    bare = trimmed(path)
    forms = (unicodedata.normalize(form, bare) for form in ("NFC", "NFD"))
    for spelling in (path, bare, *forms, os.path.normpath(bare), bare.replace("\\", "/")):
        for place in (folder / spelling, Path(spelling)):
            # unlike Path.exists, this does not raise for names too long or with a NUL
            if os.path.exists(place):  # noqa: PTH110
                return place
    return folder / bare


def recording_at(path: Path) -> Hashable:
    """The same for all paths that lead to one file: by links, through `..`, in other letters."""
    try:
        found = path.stat()
    except (OSError, ValueError):  # it is not there, or no name of a file
        return str(path.absolute())
    # A file system without numbers for its files gives 0.
    return (found.st_dev, found.st_ino) if found.st_ino else os.path.realpath(path)
