"""The card of a converted checkpoint: where it comes from, and whose licence it has."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from turnout.adapters.folder import MOST_PAPER
from turnout.config import VocabularyConfig
from turnout.hub.stored import read_part, read_small, refused, size_of
from turnout.model_folder import CARD
from turnout.verified_folder import leads_out

SOURCE = "source.json"
"""Where a folder's weights come from."""
ROUNDED = "rounded_to"
"""Its key for those that were integers."""
LONGEST_HEAD = 64 << 10
LICENSE_NAME = re.compile(r"[A-Za-z0-9][\w.+-]{0,60}", re.ASCII)
LICENSE = re.compile(
    rf"^license:[ \t]*['\"]?({LICENSE_NAME.pattern})['\"]?[ \t]*$", re.MULTILINE | re.ASCII
)
LINES = r"^{}:.*\n(?:[ \t-].*\n)*"
"""Of a key in a card's head."""
PAPER = re.compile(r"(?:LICEN[CS]E|NOTICE|COPYING)(?:[.-][ -~]*)?", re.IGNORECASE)
NOTICE = """\
MIT License

Copyright (c) 2022 OpenAI

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""
"""Whisper's (github.com/openai/whisper, LICENSE), of its code and its weights."""


def license_of(folder: Path) -> str | None:
    """The licence that the head of a folder's README.md names; None where it names none."""
    path = folder / CARD
    if not path.is_file():
        return None
    text = read_part(path, 0, min(size_of(path), LONGEST_HEAD)).decode("utf-8", "replace")
    text = text.replace("\r\n", "\n")
    if not text.startswith("---\n"):
        return None
    found = LICENSE.search(text[4:].partition("\n---")[0])
    return None if found is None else found[1]


def papers_in(folder: Path) -> dict[str, bytes]:
    """A checkpoint's licences and notices by name; raises ModelFolderError for one that is too
    long, or a link out of the folder."""
    names = [path.name for path in folder.iterdir() if path.is_file()]
    names = [name for name in names if PAPER.fullmatch(name)]
    for name in names:
        if leads_out(folder, name):
            raise refused(
                folder / name,
                "is a link out of the folder; put the file in its place, or delete it",
            )
    return {name: read_small(folder / name, MOST_PAPER) for name in names}


def render_card(
    vocabulary: VocabularyConfig, origin: Mapping[str, str], license_name: str | None
) -> str:
    """The card of a checkpoint that came from `origin`."""
    known = (
        f"The checkpoint's own README names the licence '{license_name}'."
        if license_name
        else "The checkpoint came without a licence of its own: where it was trained further, it "
        "is not known under which."
    )
    translates = "to English" if vocabulary.translations else "nothing"
    lines = [
        "---",
        f"license: {license_name or 'other'}",
        f"language: [{', '.join(vocabulary.languages)}]",
        "library_name: turnout",
        "pipeline_tag: automatic-speech-recognition",
        "---",
        "",
        "# A Whisper checkpoint, converted for turnout",
        "",
        *(f"- {key.replace('_', ' ')}: {value}" for key, value in origin.items()),
        f"- languages: {len(vocabulary.languages)} ({', '.join(vocabulary.languages)})",
        f"- translates: {translates}",
        "",
        "Use it: `turnout transcribe --model FOLDER recording.wav`.",
        "",
        "## Licence",
        "",
        f"{known} Whisper (arXiv 2212.04356) is OpenAI's:",
        "",
        NOTICE,
    ]
    return "\n".join(lines)


def remade(
    card: str,
    title: str,
    said: Sequence[str],
    *,
    mixed: bool = False,
    languages: Sequence[str] | None = None,
) -> str:
    """A card for what was made of a model: the head of that one's, what was done, and the rest of
    it, whose licence and notices hold on. The head names no licence where it is `mixed`, and these
    `languages` in the place of others."""
    head, rest = "license: other\n", card
    if card.startswith("---\n") and "\n---\n" in card:
        head, _, rest = card.removeprefix("---\n").partition("---\n")
    if mixed:
        head = "license: other\n" + re.sub(LINES.format("license"), "", head, flags=re.M)
    if languages is not None:
        line = f"language: [{', '.join(languages)}]\n"
        head = re.sub(LINES.format("language"), line, head, flags=re.M)
    lines = [f"---\n{head}---", "", f"# {title}", "", *(f"- {line}" for line in said), ""]
    if rest.strip():
        lines += ["The card of the model that it was made of, and its licence, follow.", ""]
    return "\n".join(lines) + rest
