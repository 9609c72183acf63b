"""Public corpora in the layout they are published in; for what lhotse prepares, its own recipe is
called."""

import re
from pathlib import Path
from typing import Any

from turnout.config.preparation import PrepareConfig
from turnout.corpora.cuts import parse_cut
from turnout.corpora.entry import Entry, EntryStream, utterance_id
from turnout.corpora.manifest import Fields, Place, each
from turnout.corpora.readers.lhotse import cut_entries

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
GERMAN_DIGITS = (
    "null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun",
)  # fmt: skip
FSDD_NAME = re.compile(r"(\d)_([^_]+)_(\d+)\.wav")
ARABIC_NAME = re.compile(r"(\w+)_NO_(\d+)\.wav")
ARABIC_WORDS = {
    "backward": "خلف", "cancel": "إلغاء", "close": "إغلاق", "digit": "رقم",
    "direction": "اتجاه", "disable": "تعطيل", "down": "أسفل", "eight": "ثمانية",
    "enable": "تفعيل", "enter": "إدخال", "five": "خمسة", "forward": "أمام", "four": "أربعة",
    "left": "يسار", "move": "تحريك", "next": "التالي", "nine": "تسعة", "no": "لا",
    "ok": "موافق", "one": "واحد", "open": "فتح", "options": "خيارات", "previous": "السابق",
    "receive": "استقبال", "record": "تسجيل", "right": "يمين", "rotate": "تدوير",
    "send": "إرسال", "seven": "سبعة", "six": "ستة", "start": "ابدأ", "stop": "توقف",
    "three": "ثلاثة", "two": "اثنان", "undo": "تراجع", "up": "أعلى", "yes": "نعم",
    "zero": "صفر", "zoom in": "تكبير", "zoom out": "تصغير",
}  # fmt: skip
LIBRISPEECH_PARTS = (
    "train-clean-100", "train-clean-360", "train-other-500", "dev-clean", "dev-other",
    "test-clean", "test-other", "train-clean-5", "dev-clean-2",
)  # fmt: skip


def read_fsdd(source: Path, config: PrepareConfig) -> EntryStream:
    """The Free Spoken Digit Dataset: `recordings/{digit}_{speaker}_{number}.wav`.

    Its own test set has the speakers of its training set, so no split is taken from it.
    """
    for path in sorted((source / "recordings").rglob("*.wav")):
        place = Place(str(path))
        named = FSDD_NAME.fullmatch(path.name)
        if named is None:
            yield place.error(None, "'<digit>_<speaker>_<number>.wav' was expected")
            continue
        digit = int(named[1])
        yield Entry(
            id=path.stem,
            audio=path,
            place=place,
            text=DIGITS[digit],
            language="en",
            speaker=named[2],
            translations={config.target_language or "de": GERMAN_DIGITS[digit]},
        )


def read_arabic_commands(source: Path, config: PrepareConfig) -> EntryStream:
    """The Arabic Speech Commands: `dataset/<english word>/<speaker>_NO_<number>.wav`."""
    for path in sorted((source / "dataset").rglob("*.wav")):
        place = Place(str(path))
        named = ARABIC_NAME.fullmatch(path.name)
        word = re.sub(r"[_-]", " ", path.parent.name).lower()
        if named is None:
            yield place.error(None, "'<speaker>_NO_<number>.wav' was expected")
        elif word not in ARABIC_WORDS:
            yield place.error(
                None, f"lies in '{path.parent.name}': one of the 40 words was expected"
            )
        else:
            yield Entry(
                id=utterance_id(f"{path.parent.name}/{path.name}"),
                audio=path,
                place=place,
                text=ARABIC_WORDS[word],
                language="ar",
                speaker=named[1],
                translations={config.target_language or "en": word},
            )


def read_librispeech(source: Path, config: PrepareConfig) -> EntryStream:
    """LibriSpeech by lhotse's recipe; its parts become train, dev and test."""
    from lhotse.recipes import prepare_librispeech  # noqa: PLC0415 - slow to import

    parts = [part for part in LIBRISPEECH_PARTS if (source / part).is_dir()]
    place = Place(str(source))
    try:
        manifests: dict[str, Any] = prepare_librispeech(
            source, dataset_parts=parts, normalize_text="lower"
        )
    except Exception as error:  # a recipe raises whatever its corpus makes it raise
        raise place.error(None, f"lhotse's recipe failed ({error})") from error
    lines: list[Fields] = []
    for part, sets in manifests.items():
        recordings = {recording.id: recording.to_dict() for recording in sets["recordings"]}
        for supervision in sets["supervisions"]:
            said = supervision.to_dict()
            said["language"] = "en"  # the recipe writes 'English'
            said["custom"] = {"split": part.partition("-")[0]}
            recording = recordings[supervision.recording_id]
            cut = {
                "type": "MonoCut", "id": supervision.id, "channel": supervision.channel,
                "start": 0.0, "duration": recording["duration"], "recording": recording,
                "supervisions": [said],
            }  # fmt: skip
            lines.append(Fields(cut, place))
    yield from cut_entries(each(lines, lambda line: parse_cut(line, source)), config)
