"""`turnout models`, and what is in the cache."""

import shutil
import sys
import threading
from pathlib import Path

import pytest

from turnout.cli import main
from turnout.errors import MissingModel, StorageError, UsageError
from turnout.hub.cache import Cache, platform_cache
from turnout.hub.inventory import remove
from turnout.hub.resolve import shipped_adapters
from turnout.hub.sources import MAIN, Source
from turnout.model_folder import SHIPPED

COMMIT, OTHER = "a1" * 20, "b2" * 20
Printed = pytest.CaptureFixture[str]


def put(cache: Path, repository: str, commit: str = COMMIT, revision: str = MAIN) -> Path:
    """A model in the cache, as `fetched` leaves it."""
    source, there = Source(repository, revision), Cache(cache)
    place = there.place(source, commit)
    if not place.exists():
        shutil.copytree(SHIPPED / "commands", place)
    there.note(source, commit)
    return place


def rows(printed: str) -> list[list[str]]:
    """Of the table, without its head, by columns."""
    return [line.split("  ") for line in printed.splitlines()[1:]]


def test_without_a_cache_what_ships_is_listed(cache: Path, capsys: Printed) -> None:
    assert main(["models"]) == 0
    printed = capsys.readouterr()
    head, row, *adapters = printed.out.splitlines()
    assert head.split() == ["model", "size", "precision", "languages", "into", "routing", "from"]
    assert row.split() == [
        "commands", "6.9", "MB", "float16", "ar,", "en", "en,", "de", "supervised", "(bandwidth,",
        "task)", "turnout",
    ]  # fmt: skip
    of_base = "adapter of whisper-base (language, bandwidth, task) turnout"
    assert [(line.split()[0], *line.split()[3:]) for line in adapters] == [
        (name, "float16", name.removeprefix("telephone-"), *of_base.split())
        for name in shipped_adapters()
    ]
    assert printed.err == f"cache: {cache}\n"
    assert not cache.exists()


def test_what_is_in_the_cache_is_listed_by_its_name(cache: Path, capsys: Printed) -> None:
    put(cache, "openai/whisper-base")
    put(cache, "o/n", OTHER, "refs/pr/3")
    (cache / "revisions" / "openai--whisper-base@old").write_text(OTHER)
    (cache / "models" / "notes.txt").write_text("")
    assert main(["models"]) == 0
    found = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    found = found[len(shipped_adapters()) :]
    assert [(row[0], row[-1]) for row in found] == [
        ("hf://o/n@refs/pr/3", "o/n@b2b2b2b2"), ("whisper-base", "openai/whisper-base@a1a1a1a1"),
    ]  # fmt: skip


def test_the_table_fits_a_narrow_terminal(
    cache: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(cache, "openai/whisper-large-v3-turbo")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("whisper-large-v3-turbo ") for line in lines)


def test_a_stopped_download_is_listed_and_can_be_removed(cache: Path, capsys: Printed) -> None:
    folder = cache / "fetching" / f"openai--whisper-base@{COMMIT}"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(bytes(5000))
    assert main(["models"]) == 0
    assert "whisper-base: 5.0 kB of it were fetched" in capsys.readouterr().out
    assert main(["models", "--remove", "whisper-base"]) == 0
    assert capsys.readouterr().out == f"removed {folder} (5.0 kB)\n"
    assert not folder.exists()


def test_a_folder_that_cannot_be_read_is_said_to_be_so(cache: Path, capsys: Printed) -> None:
    (put(cache, "openai/whisper-base") / "config.json").write_text("{}")
    put(cache, "openai/whisper-tiny")
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert out.count("cannot be read") == 4
    assert "whisper-tiny" in out


def test_what_is_removed_is_said_and_the_rest_stays(cache: Path, capsys: Printed) -> None:
    base, tiny = put(cache, "openai/whisper-base"), put(cache, "openai/whisper-tiny")
    put(cache, "openai/whisper-base", COMMIT, "v1")
    other = put(cache, "openai/whisper-base", OTHER, "v2")
    assert main(["models", "--remove", "whisper-base"]) == 0
    assert capsys.readouterr().out == f"removed {base} (6.9 MB)\n"
    assert sorted((cache / "models").iterdir()) == [other, tiny]
    assert sorted(path.name for path in (cache / "revisions").iterdir()) == [
        "openai--whisper-base@v2", "openai--whisper-tiny@main",
    ]  # fmt: skip
    assert main(["models", "--remove", "whisper-base"]) == 2
    assert "'whisper-base' is not in the cache" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("commands", "'commands' ships with turnout"),
        (shipped_adapters()[0], f"'{shipped_adapters()[0]}' ships with turnout"),
        ("whisper-tiny", r"not in the cache .*, which has whisper-base"),
        ("../x", "no model '../x': there is no such folder"),
        (".", "no model '.'"),
        ("/", "no model '/'"),
        ("hf://../x", "is no address of a repository"),
        ("", "no model ''"),
    ],
)
def test_what_cannot_be_removed_is_not(cache: Path, name: str, said: str) -> None:
    place = put(cache, "openai/whisper-base")
    with pytest.raises(UsageError, match=said):
        remove(name, Cache(cache), print)
    assert (place / "config.json").is_file()
    assert (SHIPPED / "commands" / "config.json").is_file()


def test_of_a_link_the_link_is_removed(cache: Path, tmp_path: Path) -> None:
    place = put(cache, "openai/whisper-base")
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    remove("whisper-base", Cache(cache), print)
    assert not place.is_symlink()
    assert (tmp_path / "elsewhere" / "config.json").is_file()


def test_what_is_being_fetched_is_waited_for(cache: Path) -> None:
    put(cache, "openai/whisper-base")
    said: list[str] = []
    there = Cache(cache)
    with there.alone(Source("openai/whisper-base"), lambda: None):
        thread = threading.Thread(target=remove, args=("whisper-base", there, said.append))
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
        assert there.find(Source("openai/whisper-base")) is not None
    thread.join()
    assert said == ["whisper-base: another process is fetching it"]
    assert there.find(Source("openai/whisper-base")) is None


def test_the_cache_is_the_platform_s_or_the_one_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("TURNOUT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert Cache.of_environment().root == tmp_path / ".cache" / "turnout"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert Cache.of_environment().root == tmp_path / ".cache" / "turnout"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert Cache.of_environment().root == tmp_path / "xdg" / "turnout"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert platform_cache() == tmp_path / "Library" / "Caches"
    monkeypatch.setenv("TURNOUT_CACHE", "~/mine")
    assert Cache.of_environment().root == tmp_path / "mine"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TURNOUT_CACHE", "here")
    assert Cache.of_environment().root == tmp_path / "here"


def test_who_has_no_home_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("TURNOUT_CACHE", raising=False)
    monkeypatch.setattr(Path, "home", none)
    with pytest.raises(StorageError, match="name a folder in TURNOUT_CACHE"):
        Cache.of_environment()


def test_a_missing_model_is_a_word_that_cannot_be_used() -> None:
    assert issubclass(MissingModel, UsageError)
