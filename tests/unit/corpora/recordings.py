"""Recordings and manifests made up for the tests of `turnout.corpora`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from lhotse import CutSet
from lhotse.cut import Cut


def noise(path: Path, seconds: float = 1.5, rate: int = 16000, channels: int = 1) -> Path:
    """White noise, which has sound up to half its rate."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(path.name))
    samples = 0.1 * rng.standard_normal((round(seconds * rate), channels))
    soundfile.write(path, samples, rate)
    return path


def write_lines(path: Path, *rows: dict[str, Any] | str) -> Path:
    """A JSON lines file; strings stand in it as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def cuts_of(path: Path) -> list[Cut]:
    """The cuts of a file, as lhotse itself reads them."""
    return list(CutSet.from_file(path))
