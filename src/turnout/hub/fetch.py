"""A repository's list of files, and the files, over HTTP and with patience.

The session, the token and the settings are huggingface_hub's (HF_ENDPOINT, HF_TOKEN,
HF_HUB_OFFLINE, HF_HUB_DOWNLOAD_TIMEOUT); its own downloader begins anew after a break, and its
other calls tell the hub what else is installed. Nothing that comes is executed.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from time import sleep
from typing import Any
from urllib.parse import quote, urlsplit

from turnout.errors import FetchError, MissingExtra, UsageError, one_line, shown
from turnout.hub.answers import LONGEST_WAIT, TransientError, check_status, elsewhere, given_up
from turnout.hub.download import Download
from turnout.hub.listing import LARGEST_TEXT, Listing, RemoteFile, listing_of, no_hub
from turnout.hub.sources import Source
from turnout.progress import Say

WAITS = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds before the next attempt, as long as none brings anything."""
FEW_WAITS = WAITS[:3]
"""Before anything came: who is offline wants to know it."""
OLDEST = 2
"""Of huggingface_hub's versions."""


@dataclass(frozen=True)
class Hub:
    """Where repositories are; made by `of_environment`."""

    endpoint: str
    headers: Mapping[str, str]
    timeout: float
    """Seconds without a byte."""
    say: Say

    @classmethod
    def of_environment(cls, source: Source, say: Say) -> "Hub":
        """Raises MissingExtra, UsageError for an HF_ENDPOINT that is none, and FetchError where
        HF_HUB_OFFLINE is set."""
        if not has_library():
            raise MissingExtra(f"{source.name} is not in the cache, and fetching it", "hub")
        from huggingface_hub import constants  # noqa: PLC0415 - slow to import
        from huggingface_hub.utils import get_token_to_send  # noqa: PLC0415

        if constants.is_offline_mode():
            raise FetchError(
                f"{source.name} is not in the cache, and HF_HUB_OFFLINE is set: {elsewhere(source)}"
            )
        check_endpoint(constants.ENDPOINT)
        # Compressed, a part of a file could not be asked for.
        headers = {"user-agent": f"turnout/{version('turnout')}", "accept-encoding": "identity"}
        token = get_token_to_send(None)
        if token:
            headers["authorization"] = f"Bearer {token}"
        return cls(constants.ENDPOINT, headers, constants.HF_HUB_DOWNLOAD_TIMEOUT, say)

    def listing(self, source: Source) -> Listing:
        """The files of a repository, its revision made a commit; raises FetchError."""
        revision = quote(source.revision, safe="")
        path = f"api/models/{source.repository}/revision/{revision}?blobs=true"
        data = bytearray()

        def attempt() -> None:
            data.clear()
            with self._answer(source, path) as answer:
                for chunk in answer.iter_bytes():
                    data.extend(chunk)
                    if len(data) > LARGEST_TEXT:
                        raise no_hub(source.repository)

        self._patiently(source, attempt, FEW_WAITS, lambda: 0)
        try:
            content = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise no_hub(source.repository) from error
        return listing_of(content, source.repository)

    def download(
        self,
        source: Source,
        commit: str,
        file: RemoteFile,
        target: Path,
        watch: Callable[[int], None],
    ) -> None:
        """Fetch a file of a commit, or what of it is not there yet; `watch` is told of bytes.

        Raises FetchError where what came is not what the hub lists, and OSError. Of a download that
        is cut or stopped, what came stays.
        """
        download = Download(file, target, watch)
        path = f"{source.repository}/resolve/{commit}/{quote(file.name)}"

        def attempt() -> None:
            if download.size < file.size:
                with self._answer(source, path, download.size) as answer:
                    download.take(answer)

        self._patiently(source, attempt, WAITS, lambda: download.size)
        download.check()

    def _patiently(
        self,
        source: Source,
        attempt: Callable[[], None],
        patience: tuple[float, ...],
        have: Callable[[], int],
    ) -> None:
        """Make an attempt, and make it again where the network or the hub falters; patience begins
        anew where `have` has grown."""
        waits, before = iter(patience), have()
        while True:
            try:
                return attempt()
            except TransientError as trouble:
                if have() > before:
                    waits, before = iter(patience), have()
                wait = next(waits, None)
                if wait is None or trouble.wait > LONGEST_WAIT:
                    raise given_up(source, trouble) from trouble
                wait = max(wait, trouble.wait)
                self.say(f"{source.name}: {trouble}: trying again in {wait:g} s")
                sleep(wait)

    @contextmanager
    def _answer(self, source: Source, path: str, begin: int = 0) -> Iterator[Any]:
        """The answer to a request for what is at `path`, from byte `begin` on; raises FetchError
        and TransientError."""
        from huggingface_hub import get_session  # noqa: PLC0415 - slow to import
        from huggingface_hub.errors import (  # noqa: PLC0415
            HTTPError,  # type: ignore[reportPrivateImportUsage] - of the httpx that it has
        )

        headers = {**self.headers, "range": f"bytes={begin}-"} if begin else {**self.headers}
        url = f"{self.endpoint}/{path}"
        try:
            with get_session().stream("GET", url, headers=headers, timeout=self.timeout) as answer:
                # 416: no byte is there any more; whoever asked for it knows what that means.
                if not (begin and answer.status_code == 416):
                    check_status(source, self.endpoint, answer)
                yield answer
        except HTTPError as error:
            words = one_line(str(error)) or type(error).__name__
            raise TransientError(f"no connection to {self.endpoint} ({words})") from error


def has_library() -> bool:
    """Whether huggingface_hub is installed; other libraries bring earlier ones, which lack things
    that are used here."""
    if find_spec("huggingface_hub") is None:
        return False
    major = version("huggingface_hub").partition(".")[0]
    return not major.isdecimal() or int(major) >= OLDEST


def check_endpoint(endpoint: str) -> None:
    """Raise UsageError where this is no address of a hub."""
    try:
        parts = urlsplit(endpoint)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that do not close, a port that is no number
        fits = False
    if not fits:
        raise UsageError(
            f"HF_ENDPOINT is {shown(endpoint)}: it must be an address such as "
            "https://huggingface.co"
        )
