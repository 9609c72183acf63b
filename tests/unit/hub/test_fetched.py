"""From a name to the cache, over HTTP: what comes is whole and what the hub lists, or no model."""

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.hub_server import Fault, HubServer, Repository
from turnout.errors import (
    FetchError,
    MissingExtra,
    ModelFolderError,
    StorageError,
    UsageError,
)
from turnout.hub.cache import Cache
from turnout.hub.resolve import resolve
from turnout.hub.sources import Source

BASE = "openai/whisper-base"
WEIGHTS = bytes(range(256)) * 40
CONFIG = json.dumps({"model_type": "whisper"}).encode()
Converted = list[dict[str, bytes]]
Answer = tuple[int, dict[str, str], str]
"""Status, headers, and the line that is said of them."""


def checkpoint(**more: bytes) -> Repository:
    """Files of a repository, those that nobody needs among them."""
    files = {
        ".gitattributes": b"*.bin filter=lfs", "README.md": b"# A model", "config.json": CONFIG,
        "generation_config.json": b"{}", "tokenizer.json": b'{"model": {}}', "vocab.json": b"{}",
        "merges.txt": b"", "pytorch_model.bin": b"\x80\x02pickle", "model.safetensors": WEIGHTS,
    }  # fmt: skip
    return Repository({**files, **more})


@pytest.fixture
def base(hub: HubServer) -> Repository:
    hub.repositories[BASE] = checkpoint()
    return hub.repositories[BASE]


def lies_in(cache: Path) -> set[str]:
    """Of files."""
    found = (path.relative_to(cache) for path in cache.rglob("*") if path.is_file())
    return {str(path) for path in found if path.parts[0] != "locks"}


def test_a_name_becomes_a_folder_with_what_is_needed(
    hub: HubServer, base: Repository, cache: Path, converted: Converted
) -> None:
    said: list[str] = []
    path = resolve("whisper-base", said.append)
    assert path == cache / "models" / f"openai--whisper-base@{base.commit}"
    assert converted == [
        {
            name: base.files[name]
            for name in (
                "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
            )
        }
    ]  # fmt: skip
    origin = json.loads((path / "source.json").read_text())
    assert origin == {
        "repository": BASE, "revision": "main", "commit": base.commit, "license": "mit",
    }  # fmt: skip
    assert said == [
        f"whisper-base: fetching 4 files (10.3 kB) of {BASE}@{base.commit[:12]} from "
        f"{hub.endpoint}",
        "whisper-base: converting it",
    ]


def test_what_was_fetched_is_not_kept_beside_it(
    base: Repository, cache: Path, converted: Converted
) -> None:
    path = resolve("whisper-base")
    outside = {name for name in lies_in(cache) if not name.startswith(f"models/{path.name}/")}
    assert outside == {"revisions/openai--whisper-base@main"}
    assert list((cache / "fetching").iterdir()) == []


def test_the_revision_is_asked_for_once_and_the_files_of_its_commit(
    hub: HubServer, base: Repository, converted: Converted
) -> None:
    resolve("whisper-base")
    assert hub.paths("/api/") == [f"/api/models/{BASE}/revision/main?blobs=true"]
    files = hub.paths("/resolve/")
    assert len(files) == 4
    assert all(path.startswith(f"/{BASE}/resolve/{base.commit}/") for path in files)


def test_from_then_on_nobody_is_asked(
    hub: HubServer, base: Repository, converted: Converted, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = resolve("whisper-base")
    hub.seen.clear()
    hub.repositories.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert resolve("whisper-base") == resolve("hf://openai/whisper-base") == path
    assert resolve(f"hf://openai/whisper-base@{path.name[-40:]}") == path
    assert hub.seen == []


def test_reading_changes_nothing_and_may_lie_where_nobody_writes(
    base: Repository, cache: Path, converted: Converted
) -> None:
    path = resolve("whisper-base")
    for folder in (*cache.rglob("*"), cache):
        folder.chmod(0o555 if folder.is_dir() else 0o444)
    try:
        before = {one: one.stat().st_mtime_ns for one in cache.rglob("*")}
        assert resolve("whisper-base") == path
        assert {one: one.stat().st_mtime_ns for one in cache.rglob("*")} == before
    finally:
        for folder in (cache, *cache.rglob("*")):
            folder.chmod(0o755)


def test_reading_needs_no_package_of_the_extra(
    base: Repository, cache: Path, converted: Converted
) -> None:
    path = resolve("whisper-base")
    program = (
        "import sys\n"
        "sys.modules['huggingface_hub'] = None\n"
        "from turnout.hub.resolve import resolve\n"
        "print(resolve('whisper-base'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.stderr, done.stdout) == ("", f"{path}\n")


@pytest.mark.parametrize(
    ("function", "found"), [("find_spec", None), ("version", "0.36.0"), ("version", "1.31.0")]
)
def test_without_the_extra_what_is_not_there_is_one_line(
    cache: Path, function: str, found: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"turnout.hub.fetch.{function}", lambda _: found)
    with pytest.raises(MissingExtra, match=r"whisper-base is not in the cache.*'turnout\[hub\]'"):
        resolve("whisper-base")
    assert not cache.exists()


def test_offline_says_what_to_do(
    hub: HubServer, base: Repository, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(FetchError) as error:
        resolve("whisper-base")
    assert str(error.value) == (
        "whisper-base is not in the cache, and HF_HUB_OFFLINE is set: run 'turnout convert "
        "whisper-base -o FOLDER' where it can be reached, and give the folder instead of the name"
    )
    assert hub.seen == []
    assert not cache.exists()


def test_a_hub_that_cannot_be_reached_is_tried_a_few_times(
    hub: HubServer, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    said: list[str] = []
    with pytest.raises(FetchError, match=r"^whisper-base cannot be fetched: no connection to http"):
        resolve("whisper-base", said.append)
    assert waits == [1.0, 2.0, 4.0]
    assert len(said) == 3


@pytest.mark.parametrize("endpoint", ["huggingface.co", "ftp://x", "http://", "http://[::1", ""])
def test_an_address_of_no_hub_is_a_mistake(
    hub: HubServer, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    with pytest.raises(UsageError, match="HF_ENDPOINT is '.*': it must be an address"):
        resolve("whisper-base")


@pytest.mark.parametrize(
    "name", ["models/whisper-base", "./whisper-base", "whisper-bse", "openai/whisper-base"]
)
def test_what_is_mistyped_is_never_sent_out(hub: HubServer, cache: Path, name: str) -> None:
    for given in (name, Path(name)):
        with pytest.raises(UsageError, match=f"no model '{Path(name) if given != name else name}'"):
            resolve(given)
    assert hub.seen == []
    assert not cache.exists()


def test_a_path_is_no_name_and_a_folder_of_that_name_goes_first(
    hub: HubServer, base: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="no model 'whisper-base'"):
        resolve(Path("whisper-base"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "whisper-base").mkdir()
    assert resolve("whisper-base") == Path("whisper-base")
    assert hub.seen == []


# What breaks off


def test_a_connection_that_is_cut_is_gone_on_with(
    hub: HubServer, base: Repository, waits: list[float], converted: Converted
) -> None:
    hub.faults.append(Fault("/elsewhere/", times=3, cut=3000))
    resolve("whisper-base")
    assert converted[0]["model.safetensors"] == WEIGHTS
    asked = [headers.get("range") for path, headers in hub.seen if "/elsewhere/" in path]
    assert asked == [None, "bytes=3000-", "bytes=6000-", "bytes=9000-"]
    assert waits == [1.0, 1.0, 1.0]  # patience begins anew with what came


def test_what_a_stopped_process_left_is_gone_on_with(
    hub: HubServer, base: Repository, cache: Path, converted: Converted
) -> None:
    folder = cache / "fetching" / f"openai--whisper-base@{base.commit}"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(WEIGHTS[:5000])
    (folder / "config.json").write_bytes(CONFIG)
    said: list[str] = []
    resolve("whisper-base", said.append)
    assert said[0].endswith("; 5.0 kB are here from before")
    assert converted[0]["model.safetensors"] == WEIGHTS
    assert hub.paths("/config.json") == []
    assert [headers.get("range") for path, headers in hub.seen if "elsewhere" in path] == [
        "bytes=5000-"
    ]


def test_a_server_that_knows_no_parts_is_heard_from_the_start(
    hub: HubServer, base: Repository, cache: Path, converted: Converted
) -> None:
    hub.faults += [Fault("/elsewhere/", cut=3000), Fault("/elsewhere/", whole=True)]
    resolve("whisper-base")
    assert converted[0]["model.safetensors"] == WEIGHTS


def test_another_part_than_was_asked_for_is_not_taken(
    hub: HubServer, base: Repository, converted: Converted
) -> None:
    hub.faults += [Fault("/elsewhere/", cut=3000), Fault("/elsewhere/", late=10)]
    resolve("whisper-base")
    assert converted[0]["model.safetensors"] == WEIGHTS
    ranges = [headers.get("range") for path, headers in hub.seen if "/elsewhere/" in path]
    assert ranges == [None, "bytes=3000-", None]


def test_a_part_that_was_damaged_on_the_disk_is_found_out_and_goes(
    hub: HubServer, base: Repository, cache: Path, converted: Converted
) -> None:
    folder = cache / "fetching" / f"openai--whisper-base@{base.commit}"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(bytes(5000))
    with pytest.raises(FetchError, match=r"model\.safetensors came damaged .* fetches it anew"):
        resolve("whisper-base")
    assert not (folder / "model.safetensors").exists()
    assert (folder / "tokenizer.json").exists()
    resolve("whisper-base")
    assert converted[0]["model.safetensors"] == WEIGHTS


def test_a_connection_that_brings_nothing_is_given_up_and_keeps_what_came(
    hub: HubServer, base: Repository, cache: Path, waits: list[float], converted: Converted
) -> None:
    hub.faults += [Fault("/elsewhere/", cut=3000), Fault("/elsewhere/", times=99, cut=0)]
    with pytest.raises(FetchError, match=r"cannot be fetched: .*\(what came is kept\)"):
        resolve("whisper-base")
    assert waits == [1.0, 2.0, 4.0, 8.0, 15.0]
    assert not (cache / "models").exists()
    hub.faults.clear()
    resolve("whisper-base")
    ranges = [headers.get("range") for path, headers in hub.seen if "/elsewhere/" in path]
    assert ranges[-1] == "bytes=3000-"
    assert converted[0]["model.safetensors"] == WEIGHTS


def test_a_server_that_falls_silent_is_asked_again(
    hub: HubServer, base: Repository, converted: Converted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    hub.faults.append(Fault("/elsewhere/", pause=0.5))
    resolve("whisper-base")
    assert converted[0]["model.safetensors"] == WEIGHTS
    assert len(hub.paths("/elsewhere/")) == 2


def test_a_slow_server_is_waited_for(
    hub: HubServer, base: Repository, converted: Converted, waits: list[float]
) -> None:
    hub.faults.append(Fault("/elsewhere/", pause=0.05))
    resolve("whisper-base")
    assert waits == []


def test_ctrl_c_leaves_what_came_and_one_line(
    hub: HubServer, base: Repository, cache: Path, converted: Converted,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    hub.faults.append(Fault("/elsewhere/", cut=3000))

    def stop(_: float) -> None:
        raise KeyboardInterrupt

    said: list[str] = []
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("turnout.hub.fetch.sleep", stop)
        resolve("whisper-base", said.append)
    assert said[-1] == (
        "whisper-base: stopped; what came is kept, and the same command goes on with it"
    )
    resolve("whisper-base")
    ranges = [headers.get("range") for path, headers in hub.seen if "/elsewhere/" in path]
    assert ranges == [None, "bytes=3000-"]


# What is not what the hub lists


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_wrong_digest_is_found_out(
    hub: HubServer, base: Repository, cache: Path, name: str, converted: Converted
) -> None:
    bad = bytes([base.files[name][0] ^ 1]) + base.files[name][1:]
    hub.faults.append(Fault(name, body=bad))
    with pytest.raises(FetchError, match=f"{name} came damaged"):
        resolve("whisper-base")
    assert converted == []
    resolve("whisper-base")
    assert converted[0][name] == base.files[name]


def test_more_than_is_listed_is_not_taken(
    hub: HubServer, base: Repository, cache: Path, converted: Converted
) -> None:
    hub.faults.append(Fault("model.safetensors", body=WEIGHTS + b"x"))
    with pytest.raises(FetchError, match=r"model\.safetensors is longer than the hub lists"):
        resolve("whisper-base")
    assert not list(cache.rglob("model.safetensors"))


@pytest.mark.parametrize("whole", [False, True])
def test_less_than_is_listed_is_not_taken(
    hub: HubServer, base: Repository, waits: list[float], whole: bool, converted: Converted
) -> None:
    lfs = {"lfs": {"sha256": "d" * 64, "size": len(WEIGHTS) + 9}}
    base.listed["model.safetensors"] = lfs
    hub.faults.append(Fault("/elsewhere/", times=99, whole=whole))
    with pytest.raises(FetchError, match="model.safetensors"):
        resolve("whisper-base")
    assert converted == []


def test_a_size_that_no_disk_has_room_for_is_refused_first(
    hub: HubServer, base: Repository, cache: Path
) -> None:
    base.listed["model.safetensors"] = {"lfs": {"sha256": "d" * 64, "size": 10**18}}
    with pytest.raises(StorageError, match=r"^whisper-base needs 2\.0 EB in .* name another"):
        resolve("whisper-base")
    assert hub.paths("/resolve/") == []


def test_a_hostile_name_is_no_path(
    hub: HubServer, base: Repository, cache: Path, converted: Converted
) -> None:
    base.files["../../evil"] = b"x"
    base.files["model-00001-of-00001.safetensors/../../evil"] = b"x"
    resolve("whisper-base")
    assert not list(cache.parent.rglob("evil"))
    assert len(converted[0]) == 4


def test_another_architecture_is_refused_before_its_weights(
    hub: HubServer, base: Repository, cache: Path, converted: Converted
) -> None:
    base.files["config.json"] = b'{"model_type": "wav2vec2"}'
    with pytest.raises(ModelFolderError, match="has the model_type 'wav2vec2': checkpoints of 'wh"):
        resolve("whisper-base")
    assert hub.paths("model.safetensors") == hub.paths("/elsewhere/") == []
    assert list((cache / "fetching").iterdir()) == []


@pytest.mark.parametrize("config", [b"", b"[]", b"\xff", b"[" * 100_000])
def test_a_configuration_that_is_none_is_refused(
    base: Repository, config: bytes, converted: Converted
) -> None:
    base.files["config.json"] = config
    with pytest.raises(ModelFolderError, match="config.json has the model_type None"):
        resolve("whisper-base")


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
