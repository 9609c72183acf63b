"""From a recording to its text: the files that a reader has to open, in the order of the work."""

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import turnout

ROOT = Path(turnout.__file__).parent
EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*-*.*"))
VOCABULARY = ("config/", "guidance.py", "errors.py", "text/spacing.py")
"""What words mean everywhere; nobody needs to open them to follow the work."""
FILES = [
    "transcription/transcriber.py",  # what Python calls
    "decoding/wishes.py",  # what is asked, as the model spells it
    "decoding/requests.py",  # can the model do that?
    "transcription/recordings.py",  # recordings in, segments out
    "transcription/ahead.py",  # read while the model runs
    "transcription/builder.py",  # transcripts at the end
    "audio/waveform.py",  # a file -> mono samples at 16 kHz
    "audio/decoders.py",  # by soundfile or PyAV
    "audio/recognition.py",  # whichever reads its container
    "transcription/segments.py",  # samples -> segments
    "audio/bandwidth.py",  # narrowband or wideband
    "audio/voice.py",  # where somebody speaks
    "audio/silero.py",  # by a network
    "onnx_file.py",  # which is a graph
    "transcription/windows.py",  # cut at pauses
    "audio/features.py",  # segments -> log-mel frames
    "decoding/decode.py",  # a batch of segments -> hypotheses
    "decoding/encoded_batch.py",  # one encoder pass, and the rows of the decoder
    "backends/onnx.py",  # the model
    "decoding/greedy.py",  # the decoder's words
    "text/sentencepieces.py",  # ids -> text
    "backends/rows.py",  # what the rows of the decoder attend to
    "decoding/search.py",  # which words are taken, and how many
    "decoding/alignment.py",  # where CTC hears them
    "decoding/drafts.py",  # which of them it foresees
    "decoding/ctc.py",  # what CTC makes of them
    "decoding/words.py",  # the times of the words
]


def files_of(work: Callable[[], object]) -> list[str]:
    """The files of turnout whose functions run, in the order in which they first do."""
    found: dict[str, None] = {}

    def note(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if (
            event == "call"
            and code.co_name != "<module>"
            and code.co_filename.startswith(str(ROOT))
        ):
            found[Path(code.co_filename).relative_to(ROOT).as_posix()] = None

    before = sys.getprofile()
    sys.setprofile(note)
    threading.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
        threading.setprofile(None)  # type: ignore[arg-type]
    return list(found)


def test_a_recording_becomes_text_in_twenty_seven_files() -> None:
    model = turnout.load(threads=1)
    found = files_of(lambda: [model.transcribe(path) for path in EXAMPLES])
    passed = [name for name in found if not name.startswith(VOCABULARY)]
    # CTC has a say where the decoder writes something else than its best path; the backend is asked
    # for the model's shape before anything is read; the graph that finds speech is written once.
    anywhere = {"decoding/ctc.py", "backends/onnx.py", "onnx_file.py"}
    assert set(passed) | anywhere == set(FILES)
    assert [n for n in passed if n not in anywhere] == [n for n in FILES if n not in anywhere]
