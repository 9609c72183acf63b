"""What was heard, kept as it comes: a benchmark of hours goes on where it was stopped."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path


class Heard:
    """Texts by system and recording, in a file of JSON lines; of this run alone without a path."""

    def __init__(self, path: Path | None, made_with: str = "") -> None:
        """`made_with` is what the texts depend on besides: those made with other weights or
        lengths are not taken for them."""
        self.path, self.made_with = path, made_with
        self.texts: dict[tuple[str, str], str] = {}
        if path is not None and path.exists():
            for line in path.read_text().splitlines():
                row = json.loads(line)
                self.texts[row["system"], row["recording"]] = row["text"]

    def lacks(self, system: str, recording: str) -> bool:
        """Whether it was not heard yet."""
        return (self._whole(system), recording) not in self.texts

    def _whole(self, system: str) -> str:
        return f"{system}, {self.made_with}" if self.made_with else system

    def text(self, system: str, recording: str, hear: Callable[[], str]) -> str:
        """The text that was kept, or what is heard now."""
        whole = self._whole(system)
        if (whole, recording) not in self.texts:
            self.texts[whole, recording] = text = hear()
            if self.path is not None:
                with self.path.open("a") as file:
                    row = {"system": whole, "recording": recording, "text": text}
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
        return self.texts[whole, recording]


def weights_in(folder: Path) -> str:
    """Which weights a CTranslate2 folder holds: of model.bin's SHA-256 the first 16 digits."""
    with (folder / "model.bin").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
