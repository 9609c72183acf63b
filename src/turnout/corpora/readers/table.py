"""CSV and TSV: `path,text[,translation,language,target_language,speaker]`, and a few more columns.

The columns are found by the header's names, in any order. One whose name is near to a known one is
refused, since a misspelled one would be left out; any other unknown one is left out, with a remark.
"""

import re
from difflib import get_close_matches
from pathlib import Path

from turnout.config.preparation import PrepareConfig
from turnout.corpora.entry import Entry, EntryStream, utterance_id
from turnout.corpora.manifest import Fields, Place
from turnout.corpora.readers.rows import has_tabs, table_rows
from turnout.corpora.spelling import beside
from turnout.errors import ManifestError, shown

COLUMNS = (
    "path", "text", "translation", "language", "target_language", "speaker",
    "split", "bandwidth", "domain", "offset", "duration", "channel", "id",
)  # fmt: skip
OTHER_WORDS = {
    "audio": "path", "audio_filepath": "path", "file": "path", "file_name": "path",
    "filename": "path", "wav": "path", "sentence": "text", "transcript": "text",
    "transcription": "text", "lang": "language", "target_lang": "target_language",
    "speaker_id": "speaker", "client_id": "speaker",
}  # fmt: skip
"""What others call these columns."""
QUOTED = re.compile('".+"')
MOST_LISTED = 10
TARGETS = ("target_language", "target_lang")


def read_table(source: Path, config: PrepareConfig) -> EntryStream:
    """Entries of a CSV or TSV file; audio paths are relative to its folder."""
    checked, quoted = False, 0
    for fields in table_rows(source):
        if isinstance(fields, ManifestError):
            yield fields
            continue
        try:
            if not checked:
                unknown = check_header(fields, Place(str(source), 1))
                checked = True
                if unknown:
                    yield f"columns left out: {listed(unknown)}"
            entry = _entry(fields, source.parent, config)
            quoted += bool(QUOTED.fullmatch(entry.text or ""))
            yield entry
        except ManifestError as error:
            yield error
            if not checked:
                return  # with a wrong header, every line is wrong in the same way
    if quoted and has_tabs(source):
        yield (
            f"{quoted} texts begin and end with a quote mark, which is theirs: in TSV it is a "
            "letter (a CSV may quote its cells)"
        )


def check_header(fields: Fields, place: Place) -> list[str]:
    """The columns that are left out; raises ManifestError where a needed one is missing, or one
    has nearly the name of another."""
    names = list(fields.values)
    missing = [name for name in ("path", "text") if name not in names]
    unknown = [name for name in names if name not in COLUMNS]
    free = [column for column in COLUMNS if column not in names]
    for name in unknown:
        word = OTHER_WORDS.get(name.lower(), name.lower())
        near = get_close_matches(word, free, 1, 0.6)
        if near:
            raise place.error(name, f"is an unknown column: did you mean '{near[0]}'?")
    if missing:
        raise place.error(
            missing[0],
            f"is missing in the header '{', '.join(names)}': a column of this name was expected",
        )
    return unknown


def listed(names: list[str]) -> str:
    """Some names, for a message: a hostile table may have very many, or very long ones."""
    some = ", ".join(shown(name).strip("'\"") or "''" for name in names[:MOST_LISTED])
    return some if len(names) <= MOST_LISTED else f"{some} and {len(names) - MOST_LISTED:,} more"


def _entry(fields: Fields, folder: Path, config: PrepareConfig) -> Entry:
    path = fields.needed("path")
    offset = fields.seconds("offset") or 0.0
    language = fields.language("language", default=config.language)
    return Entry(
        id=fields.word("id") or utterance_id(path, offset),
        audio=beside(folder, path),
        place=fields.place,
        text=fields.text("text"),
        language=language,
        speaker=fields.word("speaker"),
        translations=translation(fields, config),
        split=fields.split(),
        bandwidth=fields.bandwidth(),
        domain=fields.domain(),
        offset=offset,
        duration=fields.seconds("duration"),
        channel=fields.channel(),
        audio_field="path",
    )


def translation(fields: Fields, config: PrepareConfig) -> dict[str, str]:
    """The translation by its language, or nothing; an empty cell is no translation."""
    text = fields.word("translation")
    target = fields.language(*TARGETS, default=config.target_language)
    if text is None:
        return {}
    if target is None:
        raise fields.place.error(
            "target_language",
            "is missing: the translation's language was expected, here or for all lines by an "
            "option such as --target-language de",
        )
    return {target: text}
