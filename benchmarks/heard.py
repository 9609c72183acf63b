"""What was heard, kept as it comes: a benchmark of hours goes on where it was stopped."""

import json
from collections.abc import Callable
from pathlib import Path


class Heard:
    """Texts by system and recording, in a file of JSON lines; of this run alone without a path."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.texts: dict[tuple[str, str], str] = {}
        if path is not None and path.exists():
            for line in path.read_text().splitlines():
                row = json.loads(line)
                self.texts[row["system"], row["recording"]] = row["text"]

    def text(self, system: str, recording: str, hear: Callable[[], str]) -> str:
        """The text that was kept, or what is heard now."""
        if (system, recording) not in self.texts:
            self.texts[system, recording] = text = hear()
            if self.path is not None:
                with self.path.open("a") as file:
                    row = {"system": system, "recording": recording, "text": text}
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
        return self.texts[system, recording]
