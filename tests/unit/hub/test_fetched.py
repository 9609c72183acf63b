"""From a name to the cache, over HTTP: what comes is whole and what the hub lists, or no model."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.hub_server import BASE, CONFIG, WEIGHTS, Fault, HubServer, Repository, lies_in
from turnout.errors import (
    FetchError,
    MissingExtra,
    ModelFolderError,
    StorageError,
    UsageError,
)
from turnout.hub.resolve import resolve

Converted = list[dict[str, bytes]]
Answer = tuple[int, dict[str, str], str]
"""Status, headers, and the line that is said of them."""


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
