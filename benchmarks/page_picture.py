"""The page, as the README shows it: the real answer of the model that ships, by day and by night.

    scripts/bench page_picture

The call is three recordings of examples/ with pauses between them. Needs Chromium and its driver.
"""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile
import soxr

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.page.chromium import MISSING, Browser, opened, programs  # noqa: E402
from tests.served import served  # noqa: E402

PARTS = ("arabic-telephone-1.wav", "arabic-telephone-2.wav", "arabic-telephone-3.flac")
PAUSE_SECONDS = 2.4
RATE = 8000
PICTURES = {"light": "page.png", "dark": "page-dark.png"}


def joined(folder: Path) -> Path:
    """The call."""
    pause = np.zeros(int(PAUSE_SECONDS * RATE), np.float32)
    parts = []
    for name in PARTS:
        samples, rate = soundfile.read(ROOT / "examples" / name, dtype="float32")
        parts += [soxr.resample(samples, rate, RATE), pause]
    path = folder / "call.wav"
    soundfile.write(path, np.concatenate(parts[:-1]), RATE, subtype="PCM_16")
    return path


def show(page: Browser, url: str, call: Path) -> None:
    """Have it transcribed and translated, and stop at a word."""
    page.desk()
    page.open(url)
    page.choose("task", "both")
    page.give(call)
    page.finish()
    page.wait(lambda: page.one("#play").is_enabled() and page.one("#experts").is_displayed())
    page.run(
        "document.querySelectorAll('#rows [data-task=transcribe] .word')[7].click();"
        "document.getElementById('audio').pause();"
        "document.getElementById('address').textContent = 'http://127.0.0.1:8000/v1'"
    )


def main() -> None:
    """Write both pictures."""
    argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0]).parse_args()
    found = programs() or sys.exit(MISSING)
    with TemporaryDirectory() as name:
        folder = Path(name)
        call = joined(folder)
        with (
            served(folder / "uploads", page=True) as server,
            opened(found, folder, call) as page,
        ):
            show(page, f"{server.url}/", call)
            for scheme, picture in PICTURES.items():
                page.media(prefers_color_scheme=scheme)
                page.drawn()
                page.picture(ROOT / "docs" / "images" / picture)
                print(picture)


if __name__ == "__main__":
    main()
