"""The page's files over HTTP, and that the page asks for nothing that is not among them."""

import re
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from turnout.serving import static
from turnout.serving.static import FOLDER, TYPES, page_files, register
from turnout.text.spacing import UNSPACED

FILES = sorted(path.name for path in FOLDER.iterdir())
SOURCES = {name: (FOLDER / name).read_text(encoding="utf-8") for name in FILES}


@pytest.fixture
def client():
    app = Starlette()
    app.router.redirect_slashes = False  # as the server has it
    app.state.paths = register(app)
    with TestClient(app) as found:
        yield found


def test_everything_in_the_folder_is_served_and_nothing_else(client):
    expected = {"/"} | {f"/page/{name}" for name in FILES if name != "index.html"}
    assert client.app.state.paths == expected
    for path in expected:
        answer = client.get(path)
        name = path.removeprefix("/page/") if path != "/" else "index.html"
        assert answer.status_code == 200
        assert answer.content == (FOLDER / name).read_bytes()
        assert answer.headers["content-type"] == TYPES[Path(name).suffix]


@pytest.mark.parametrize(
    "path",
    ["/page/", "/page", "/index.html", "/page/index.html", "/page/none.js", "/page/../static.py",
     "/page/%2e%2e/static.py", "/page/%2e%2e%2fstatic.py", "/page/app.js/", "//page/app.js",
     "/page/app.js%00"],
)  # fmt: skip
def test_other_paths_are_not_there(client, path):
    assert client.get(path).status_code == 404


def test_a_digest_spares_the_second_transfer(client):
    first = client.get("/page/app.js")
    etag = first.headers["etag"]
    assert first.headers["cache-control"] == "no-cache"
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = client.get("/page/app.js", headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == etag
    for other in ('"other"', "", etag.strip('"'), f"{etag}x"):
        assert client.get("/page/app.js", headers={"If-None-Match": other}).status_code == 200
    tags = [client.get(path).headers["etag"] for path in client.app.state.paths]
    assert len(set(tags)) == len(tags)


def test_head_has_no_body_and_other_methods_are_refused(client):
    head = client.head("/")
    assert head.content == b""
    assert head.headers["content-length"] == str(len((FOLDER / "index.html").read_bytes()))
    assert client.post("/").status_code == 405


def test_what_happens_to_the_files_later_changes_nothing(tmp_path, monkeypatch):
    (tmp_path / "index.html").write_text("as it was")
    (tmp_path / "notes.txt").write_text("not a part of the page")
    monkeypatch.setattr(static, "FOLDER", tmp_path)
    app = Starlette()
    assert register(app) == {"/"}
    (tmp_path / "index.html").unlink()
    with TestClient(app) as client:
        assert client.get("/").text == "as it was"


def test_the_policy_lets_in_nothing_from_elsewhere_and_nothing_inline(client):
    for path in client.app.state.paths:
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "*" not in policy
        assert not re.search(r"https?:|data:", policy)
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("name", FILES)
def test_no_file_names_an_address_elsewhere(name):
    found = set(re.findall(r"\b(?:https?|wss?)://[^\s\"'`]+", SOURCES[name]))
    assert found <= {"http://www.w3.org/2000/svg"}


def test_every_file_is_asked_for_and_every_one_that_is_asked_for_is_there():
    asked = {"index.html"}
    asked |= set(re.findall(r"(?:src|href)=\"page/([^\"]+)\"", SOURCES["index.html"]))
    for name, source in SOURCES.items():
        if name.endswith(".js"):
            asked |= set(re.findall(r"(?:from |import\(|new URL\()\"\./([^\"]+)\"", source))
    assert asked == set(FILES)


def test_the_markup_has_no_script_style_or_handler_inline():
    markup = SOURCES["index.html"]
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", markup)
    assert re.findall(r"<script[^>]*>(.*?)</script>", markup, re.S) == [""]


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".js")])
def test_no_script_makes_markup_of_text(name):
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(",
                         SOURCES[name])  # fmt: skip


def test_the_page_knows_the_same_languages_without_spaces():
    listed = re.search(r"UNSPACED = new Set\((.*?)\);", SOURCES["wording.js"], re.S)
    assert listed is not None
    codes = " ".join(re.findall(r'"([a-z ]+)"', listed[1].replace('.split(" ")', ""))).split()
    assert set(codes) == UNSPACED


def test_the_page_files_are_read_as_they_are():
    files = page_files()
    assert {len(file.etag) for file in files.values()} == {66}
    assert sum(len(file.content) for file in files.values()) < 200_000
