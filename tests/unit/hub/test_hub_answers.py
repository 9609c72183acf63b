"""What a hub answers instead of files, who is told what, and what becomes of a cache."""

import errno
import os
import threading
from pathlib import Path

import pytest

from tests.hub_server import (
    BASE,
    Fault,
    HubServer,
    Repository,
    checkpoint,
    lies_in,
)
from turnout.errors import (
    FetchError,
    MissingExtra,
    ModelFolderError,
    StorageError,
)
from turnout.hub.cache import Cache
from turnout.hub.resolve import resolve
from turnout.hub.sources import Source

Converted = list[dict[str, bytes]]
Answer = tuple[int, dict[str, str], str]
"""Status, headers, and the line that is said of them."""


# What a hub answers instead


@pytest.mark.parametrize(
    "answer",
    [
        (401, {"X-Error-Code": "GatedRepo"},
         r"is given to those who accept its licence: do that at http://.*/openai/whisper-base, and "
         "set HF_TOKEN"),
        (403, {"X-Error-Code": "GatedRepo"}, "is given to those who accept its licence"),
        (401, {"X-Error-Message": "Invalid credentials in Authorization header"},
         "does not know the token in HF_TOKEN"),
        (403, {}, r"is not on http://.*, or not for you \(it answers 403\)"),
        (404, {}, r"is not on http://.*, or not for you \(it answers 404\)"),
        (404, {"X-Error-Code": "RevisionNotFound"}, "has no revision 'main'"),
        (418, {}, r"answers 418: is HF_ENDPOINT right\?"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("where", ["/api/", "/resolve/"])
def test_a_refusal_is_one_line_and_final(
    hub: HubServer, base: Repository, waits: list[float], where: str, answer: Answer, cache: Path
) -> None:
    status, headers, line = answer
    hub.faults.append(Fault(where, times=9, status=status, headers=headers))
    with pytest.raises(FetchError, match=line) as error:
        resolve("whisper-base")
    assert "\n" not in str(error.value)
    assert waits == []
    assert not lies_in(cache)


def test_a_repository_and_a_revision_that_are_not_there(hub: HubServer, base: Repository) -> None:
    with pytest.raises(FetchError, match="^o/n is not on http.*, or not for you"):
        resolve("hf://o/n")
    with pytest.raises(FetchError, match=r"^openai/whisper-base has no revision 'v9'"):
        resolve("hf://openai/whisper-base@v9")


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("where", ["/api/", "config.json", "/elsewhere/"])
def test_what_may_pass_is_waited_for(
    hub: HubServer, base: Repository, waits: list[float], status: int, where: str,
    converted: Converted,
) -> None:  # fmt: skip
    hub.faults.append(Fault(where, times=2, status=status))
    resolve("whisper-base")
    assert waits == [1.0, 2.0]


def test_as_long_as_the_hub_asks_it_is_left_alone_but_not_for_ever(
    hub: HubServer, base: Repository, waits: list[float], converted: Converted
) -> None:
    hub.faults.append(Fault("/api/", status=429, headers={"Retry-After": "7"}))
    said: list[str] = []
    resolve("whisper-base", said.append)
    assert waits == [7.0]
    assert said[0] == f"whisper-base: {hub.endpoint} answers 429: trying again in 7 s"
    hub.faults.append(Fault("/api/", status=429, headers={"Retry-After": "3600"}))
    with pytest.raises(FetchError, match="answers 429; it asks to wait 3600 s: try again later"):
        resolve("hf://openai/whisper-base@v2")
    assert waits == [7.0]


def test_what_does_not_pass_is_one_line(
    hub: HubServer, base: Repository, waits: list[float]
) -> None:
    hub.faults.append(Fault("/elsewhere/", times=99, status=503))
    with pytest.raises(FetchError, match=r"^whisper-base cannot be fetched: http.* answers 503: "):
        resolve("whisper-base")
    assert waits == [1.0, 2.0, 4.0, 8.0, 15.0]


@pytest.mark.parametrize("body", [b"<html>login</html>", b"[" * 100_000, b"{}", b"\xff\xfe"])
def test_a_page_of_a_hotel_is_no_list(hub: HubServer, base: Repository, body: bytes) -> None:
    hub.faults.append(Fault("/api/", body=body))
    with pytest.raises(FetchError, match="is HF_ENDPOINT right, and is nothing in between"):
        resolve("whisper-base")


def test_a_list_without_end_is_not_read_to_its_end(
    hub: HubServer, base: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnout.hub.fetch.LARGEST_TEXT", 1000)
    hub.faults.append(Fault("/api/", body=b" " * 1001))
    with pytest.raises(FetchError, match="the answer is no list"):
        resolve("whisper-base")


def test_a_redirection_in_circles_is_one_line(
    hub: HubServer, base: Repository, waits: list[float]
) -> None:
    place = {"Location": f"{hub.endpoint}/round"}
    hub.faults += [Fault("/api/", 99, 302, place), Fault("/round", 999, 302, place)]
    with pytest.raises(FetchError, match="no connection to"):
        resolve("whisper-base")


def test_a_renamed_repository_is_followed(
    hub: HubServer, base: Repository, converted: Converted
) -> None:
    place = {"Location": f"/api/models/{BASE}/revision/main?blobs=true"}
    hub.faults.append(Fault("/api/models/old/name/", status=307, headers=place))
    place = {"Location": f"/{BASE}/resolve/{base.commit}/config.json"}
    hub.faults.append(Fault("/old/name/resolve/", status=307, headers=place))
    for name in ("generation_config.json", "tokenizer.json", "model.safetensors"):
        place = {"Location": f"/{BASE}/resolve/{base.commit}/{name}"}
        hub.faults.append(Fault(f"/old/name/resolve/{base.commit}/{name}", 1, 307, place))
    assert resolve("hf://old/name").name == f"old--name@{base.commit}"


# Who is told what


def test_the_token_goes_to_the_hub_and_to_nobody_else(
    hub: HubServer, base: Repository, converted: Converted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    resolve("whisper-base")
    for path, headers in hub.seen:
        told = None if "/elsewhere/" in path else "Bearer hf_secret"
        assert headers.get("authorization") == told
    assert len(hub.paths("/elsewhere/")) == 1


def test_nobody_is_told_more_than_what_is_asked_for(
    hub: HubServer, base: Repository, converted: Converted
) -> None:
    resolve("whisper-base")
    asked = {path.split("?")[0].rsplit("/", 1)[-1] for path in hub.paths() if "else" not in path}
    wanted = {"config.json", "generation_config.json", "tokenizer.json", "model.safetensors"}
    assert asked == {"main", *wanted}
    for _, headers in hub.seen:
        assert headers["user-agent"].startswith("turnout/")
        assert ";" not in headers["user-agent"]
        assert "authorization" not in headers
        assert headers["accept-encoding"] == "identity"  # parts of what is compressed are none


# What cannot be written


def test_a_cache_that_cannot_be_written_is_one_line(
    hub: HubServer, base: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TURNOUT_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageError, match=r"file cannot be written \(.*\): .* TURNOUT_CACHE$"):
        resolve("whisper-base")
    assert hub.seen == []


def test_a_disk_that_fills_keeps_what_came(
    hub: HubServer, base: Repository, cache: Path, converted: Converted,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from turnout.hub.download import Download

    count = Download._count

    def full(self: Download, chunk: bytes) -> None:
        count(self, chunk)
        if self.file.name == "model.safetensors" and chunk:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    hub.faults.append(Fault("/elsewhere/", cut=3000))
    with monkeypatch.context() as patch:
        patch.setattr(Download, "_count", full)
        with pytest.raises(StorageError, match=r"\(no space left on device\): make room"):
            resolve("whisper-base")
    resolve("whisper-base")
    ranges = [headers.get("range") for path, headers in hub.seen if "/elsewhere/" in path]
    assert ranges == [None, "bytes=3000-"]


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (ModelFolderError("of another shape"), False),
        (MissingExtra("a checkpoint of this shape", "train"), True),
        (StorageError("no space"), True),
        (OSError(errno.ENOSPC, "No space"), True),
    ],
)
def test_what_cannot_be_converted_goes_unless_its_user_can_mend_it(
    base: Repository, cache: Path, error: Exception, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("turnout.hub.fetched.convert", fail)
    with pytest.raises(StorageError if isinstance(error, OSError) else type(error)):
        resolve("whisper-base")
    assert bool(list((cache / "fetching").glob("openai*/model.safetensors"))) == kept
    assert not list((cache / "models").iterdir())
    assert not (cache / "revisions").exists()


# Several revisions, several processes


def test_a_revision_of_its_own_is_another_name_for_a_commit(
    hub: HubServer, base: Repository, cache: Path, converted: Converted
) -> None:
    base.revisions = ("main", "refs/pr/3")
    path = resolve("hf://openai/whisper-base@refs/pr/3")
    assert resolve("whisper-base") == path
    assert len(converted) == 1
    assert len(hub.paths("/api/")) == 2
    assert {p.name for p in (cache / "revisions").iterdir()} == {
        "openai--whisper-base@main", "openai--whisper-base@refs%2Fpr%2F3",
    }  # fmt: skip


def test_what_main_is_stays_what_it_was(
    hub: HubServer, base: Repository, converted: Converted
) -> None:
    path = resolve("whisper-base")
    hub.repositories[BASE] = checkpoint(**{"README.md": b"# Changed"})
    assert hub.repositories[BASE].commit != path.name[-40:]
    assert resolve("whisper-base") == path


def test_a_stopped_download_of_an_older_commit_goes(
    hub: HubServer, base: Repository, cache: Path, converted: Converted
) -> None:
    old = cache / "fetching" / f"openai--whisper-base@{'a1' * 20}"
    other = cache / "fetching" / f"openai--whisper-tiny@{'a1' * 20}"
    for folder in (old, other):
        folder.mkdir(parents=True)
    resolve("whisper-base")
    assert list((cache / "fetching").iterdir()) == [other]


@pytest.mark.parametrize("text", ["", "main\n", "../../x", "A" * 40, "a" * 41])
def test_a_revision_that_is_no_commit_is_as_if_nothing_were_there(
    base: Repository, cache: Path, text: str, converted: Converted
) -> None:
    path = resolve("whisper-base")
    (cache / "revisions" / "openai--whisper-base@main").write_text(text)
    assert Cache(cache).find(Source(BASE)) is None
    assert resolve("whisper-base") == path
    assert len(converted) == 1


def test_of_several_that_ask_at_once_one_fetches_and_the_others_wait(
    hub: HubServer, base: Repository, converted: Converted
) -> None:
    hub.faults.append(Fault("/elsewhere/", pause=0.1))
    found: list[Path] = []
    said: list[str] = []

    def ask() -> None:
        found.append(resolve("whisper-base", said.append))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    assert len(converted) == 1
    assert len(hub.paths("/api/")) == len(hub.paths("/elsewhere/")) == 1
    assert said.count("whisper-base: another process is fetching it") == 3
