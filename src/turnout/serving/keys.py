"""The keys of a server: where they come from, and whether one that is given is among them."""

import hmac
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path

from turnout.errors import UsageError

VARIABLE = "TURNOUT_API_KEY"
LARGEST_FILE = 65_536


class Keys:
    """Keys that are known by their digests alone."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = tuple(sha256(key.encode()).digest() for key in keys)

    @property
    def are_needed(self) -> bool:
        """Whether the server has any."""
        return bool(self._digests)

    def accepts(self, given: str) -> bool:
        """Whether this is a key; of a server without keys anything is.

        Takes as long for one as for another: digests are compared, in constant time, with all.
        """
        if not self._digests:
            return True
        digest = sha256(given.encode("utf-8", "surrogatepass")).digest()
        same = [hmac.compare_digest(digest, own) for own in self._digests]
        return any(same)


def read_keys(file: Path | None, environment: Mapping[str, str]) -> tuple[str, ...]:
    """The keys in a file, one a line, or the one in the environment; raises UsageError where the
    file cannot be read or holds none."""
    if file is None:
        key = environment.get(VARIABLE, "").strip()
        return (key,) if key else ()
    try:
        with file.open("rb") as opened:
            text = opened.read(LARGEST_FILE + 1).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: the keys cannot be read: {error}") from error
    if len(text) > LARGEST_FILE:
        raise UsageError(f"{file}: is too large for a file of keys: one key a line is wanted")
    lines = (line.strip() for line in text.splitlines())
    keys = tuple(line for line in lines if line and not line.startswith("#"))
    if not keys:
        raise UsageError(f"{file}: holds no key: write one a line")
    return keys


def described(file: Path | None, keys: Iterable[str]) -> str:
    """Where the keys come from, for the line at the start."""
    if not tuple(keys):
        return "no key is asked for"
    return f"key from {file}" if file is not None else f"key from {VARIABLE}"
