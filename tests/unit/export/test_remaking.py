"""A Whisper becomes routed and dense again, from the command line, whole or not at all."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from tests import whispers
from tests.models import saved
from turnout.backends.torch import TorchBackend, load_model
from turnout.cli import main
from turnout.config import RoutingConfig, VocabularyConfig, preset
from turnout.config.cutting import cut_out
from turnout.config.upcycling import upcycled
from turnout.errors import ExportError, UsageError
from turnout.export.receipt import compared, confirm, outputs_of
from turnout.export.remaking import many_experts, specialise_model, upcycle_model
from turnout.guidance import Bandwidth, Guidance, Guide, Task
from turnout.hub import whisper_graphs
from turnout.hub.convert import convert
from turnout.hub.rerouted import Writing, specialise, stored
from turnout.hub.whisper_layers import Layers
from turnout.model_folder import WEIGHTS, ModelFolder, write_folder
from turnout.transcription.transcriber import load

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
HEARD = ["--audio", str(EXAMPLES / "english-1.flac"), str(EXAMPLES / "arabic-telephone-1.wav")]
ROUTED = ("--encoder.routing.kind", "supervised", "--decoder.routing.kind", "supervised")
LICENCE = "---\nlicense: mit\n---\n# Mine\n\nCopyright: somebody\n"


def test_experts_that_nobody_asked_for_by_name_are_told() -> None:
    """Guided by language, each of Whisper's 99 has an expert."""
    codes = [first + second for first in "abcdefghi" for second in "lmnopqrstuv"]
    many = VocabularyConfig(languages=tuple(codes), translations=())
    config = replace(preset("whisper-tiny"), vocabulary=many)
    by_language = RoutingConfig(kind="supervised", guided_by=(Guide.LANGUAGE,))
    told = many_experts(upcycled(config, by_language))
    assert told == [
        "encoder.routing: 99 experts in a layer: --encoder.routing.experts-for names those that "
        "need one of their own"
    ]
    named = replace(by_language, experts_for=("al",))
    assert many_experts(upcycled(config, named, named)) == []
    learned = RoutingConfig(kind="omni", num_experts=32)
    assert many_experts(upcycled(config, learned)) == ["encoder.routing: 32 experts in a layer"]


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("dense")
    source = whispers.save_transformers(place / "source", whispers.whisper())
    folder = convert(source, place / "model")
    (folder / "README.md").write_text(LICENCE)
    return folder


@pytest.fixture(scope="module")
def routed(dense: Path) -> Path:
    output = dense.parent / "routed"
    assert main(["upcycle", "--model", str(dense), "-o", str(output), *ROUTED, *HEARD]) == 0
    return output


def test_upcycled_and_cut_out_it_is_what_it_was(
    dense: Path, routed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, middle = ModelFolder.open(dense), ModelFolder.open(routed)
    assert [middle.config.encoder.routing.kind, middle.config.decoder.routing.kind] == (
        ["supervised"] * 2
    )
    assert middle.config.decoder.routing.guided_by == ("task",)  # as the stack's own default is
    ups = [name for name in stored(middle) if name.endswith("experts.1.up.weight")]
    assert len(ups) == 4
    words = ["--bandwidth", "narrowband", "--task", "transcribe"]
    path = tmp_path / "path"
    assert main(["specialise", "--model", str(routed), "-o", str(path), *words, *HEARD]) == 0
    said = capsys.readouterr()
    assert said.out == f"{path}\n"
    assert "receipt: both models on 2 recordings" in said.err
    assert "s), asked in 6 ways, " in said.err  # of three languages and two windows
    assert "equal to the last bit" in said.err
    after = ModelFolder.open(path)
    for name in (WEIGHTS, "encoder.onnx", "decoder.onnx", "tokenizer.json"):
        assert after.digests[name] == before.digests[name], name
    assert after.config.tasks == (Task.TRANSCRIBE,)
    assert main(["transcribe", "--model", str(path), "--task", "translate", HEARD[1]]) == 2
    assert "does not translate" in capsys.readouterr().err


def test_cards_say_where_it_came_from_and_keep_the_licence(routed: Path) -> None:
    text = (routed / "README.md").read_text()
    assert text.startswith("---\nlicense: mit\n---\n")
    assert "made of: model (SHA-256 of its weights: " in text
    assert "- encoder: experts chosen by bandwidth" in text
    assert text.endswith("# Mine\n\nCopyright: somebody\n")


def test_paths_that_were_trained_apart(routed: Path, tmp_path: Path) -> None:
    folder = ModelFolder.open(routed)
    tensors = safetensors.numpy.load(folder.read(WEIGHTS))
    random = np.random.default_rng(0)
    for name in tensors:
        if ".experts.1." in name:
            tensors[name] = tensors[name] + random.normal(0, 0.3, tensors[name].shape).astype("f4")
    files = {**folder.files(), WEIGHTS: safetensors.numpy.save(tensors)}
    write_folder(tmp_path / "taught", files)
    taught = ModelFolder.open(tmp_path / "taught")
    whole = TorchBackend(load_model(taught))
    log_mel = random.standard_normal((3, 200, 80)).astype(np.float32)
    heard = log_mel, np.ones(log_mel.shape[:2], dtype=np.bool_)
    found: list[bytes] = []
    for number, (bandwidth, task) in enumerate((b, t) for b in Bandwidth for t in Task):
        cut = cut_out(taught.config, Guidance(bandwidth=bandwidth, task=task))
        place = tmp_path / str(number)
        writing = Writing(output=place, title="A path", said=(), graphs=lambda _: {})
        specialise(taught, cut, writing)
        path = TorchBackend(load_model(ModelFolder.open(place)))
        first, second = (
            outputs_of(one, folder.tokenizer, heard, cut.guidance[0]) for one in (whole, path)
        )
        assert first.to_bytes() == second.to_bytes()
        found.append(b"".join(part.tobytes() for part in first.log_probs))
    assert len(set(found)) == 4


def test_a_learned_router_begins_within_rounding(dense: Path, tmp_path: Path) -> None:
    words = ["--encoder.routing.kind", "omni", "--encoder.routing.num-experts", "3"]
    output = tmp_path / "omni"
    asked = ["upcycle", "--model", str(without_graphs(dense, tmp_path)), "-o", str(output)]
    assert main([*asked, *words, "--encoder.routing.gate", "straight_through", *HEARD]) == 0
    config = ModelFolder.open(output).config
    assert (config.encoder.routing.kind, config.encoder.routing.num_experts) == ("omni", 3)


def test_what_an_older_turnout_wrote_may_round_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Graphs that are written anew add up in another order."""
    source = whispers.save_transformers(tmp_path / "source", whispers.whisper())
    scaled = whisper_graphs.scaled_queries
    with monkeypatch.context() as patch:

        def in_two_steps(layers: Layers, *named: str) -> str:
            tripled = layers.graph.add("Mul", scaled(layers, *named), 3.0)
            return layers.graph.add("Mul", tripled, 1 / 3)

        patch.setattr(whisper_graphs, "scaled_queries", in_two_steps)
        older = convert(source, tmp_path / "older")
    routing = RoutingConfig(kind="supervised", guided_by=(Guide.TASK,))
    receipt = upcycle_model(older, tmp_path / "new", (None, routing), audio=[Path(HEARD[1])])
    assert not receipt.same and receipt.close


def without_graphs(folder: Path, place: Path) -> Path:
    files = ModelFolder.open(folder).files()
    kept = {name: data for name, data in files.items() if not name.endswith(".onnx")}
    write_folder(place / "plain", kept)
    return place / "plain"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "nothing would be routed: give --encoder.routing.kind"),
        (("--encoder.routing.kind", "omni"), "encoder.routing.gate is 'probability', which"),
        (("--encoder.routing.kind", "guided"), "--encoder.routing.kind"),
        (
            ("--encoder.routing.kind", "supervised", "--encoder.routing.guided-by", "domain"),
            "there is but one domain: name more",
        ),
        (
            (*ROUTED[:2], "--encoder.routing.experts-for", "es"),
            "names 'es', which is no bandwidth of this model: choose of narrowband, wideband",
        ),
        ((*ROUTED, "--audio", "nowhere.wav"), "nowhere.wav"),
    ],
)
def test_what_cannot_be_leaves_nothing(
    dense: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    message: str,
) -> None:
    heard = () if "--audio" in words else HEARD
    output = tmp_path / "made"
    assert main(["upcycle", "--model", str(dense), "-o", str(output), *words, *heard]) != 0
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("turnout: error: ") and message in said
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_not_written_over_itself(routed: Path, dense: Path) -> None:
    with pytest.raises(UsageError, match="is the model itself: choose another folder"):
        specialise_model(
            routed, routed, Guidance(bandwidth=Bandwidth.WIDEBAND, task=Task.TRANSLATE)
        )
    assert main(["specialise", "--model", str(dense), "-o", str(dense), *HEARD]) == 2


def test_a_difference_is_seen_and_nothing_is_written(dense: Path, tmp_path: Path) -> None:
    before = load(dense)
    other = convert(
        whispers.save_transformers(tmp_path / "source", whispers.whisper(seed=1)),
        tmp_path / "other",
    )
    known = [Guidance(bandwidth=Bandwidth.WIDEBAND, task=Task.TRANSCRIBE, language="en")]
    found = compared(before.backend, load(other).backend, before.tokenizer, [Path(HEARD[1])], known)
    assert not found.same and found.difference > 0.1
    with pytest.raises(ExportError, match="differ by .* where nothing is allowed"):
        confirm(found, exact=True)
    with pytest.raises(ExportError, match="where 0.0001, or 1e-05 of the largest, is allowed"):
        confirm(found, exact=False)


@pytest.mark.parametrize(("by", "close"), [(6e-5, True), (3e-4, False), (float("nan"), False)])
def test_a_learned_router_may_round_as_graphs_do(dense: Path, by: float, close: bool) -> None:
    before, after = load(dense), load(dense)
    known = [Guidance(bandwidth=Bandwidth.WIDEBAND, task=Task.TRANSCRIBE, language="en")]
    after.backend.step = moved(after.backend.step, by)  # type: ignore[method-assign]
    sounds = [Path(HEARD[1])]
    found = compared(before.backend, after.backend, before.tokenizer, sounds, known)
    assert not found.same and found.close == close
    if close:
        confirm(found, exact=False)
        assert "largest difference 6e-05" in str(found)
    with pytest.raises(ExportError):
        confirm(found, exact=close)


def moved(step: Callable[..., Any], by: float) -> Callable[..., Any]:
    """A decoder's step whose log-probabilities are a little away."""

    def wrong(*given: Any) -> tuple[Any, Any]:
        answer, state = step(*given)
        return replace(answer, log_probs=answer.log_probs + np.float32(by)), state

    return wrong


def test_a_learned_model_has_no_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["specialise", "--model", str(saved("switch")), "-o", str(tmp_path / "path"), *HEARD]
    assert main(words) == 2
    assert "chosen by a learned router (switch)" in capsys.readouterr().err
    assert not (tmp_path / "path").exists()


def test_neither_verb_imports_pytorch(dense: Path, tmp_path: Path) -> None:
    script = (
        "import sys\nfrom turnout.cli import main\n"
        f"status = main(['upcycle', '--model', {str(dense)!r}, '-o', {str(tmp_path / 'up')!r}, "
        f"*{[*ROUTED, *HEARD]!r}])\n"
        "print(status, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.stdout.splitlines()[-1] == "0 False", done.stderr
    content = json.loads((tmp_path / "up" / "config.json").read_text())
    assert content["model"]["encoder"]["routing"]["kind"] == "supervised"


def test_python_takes_folders(dense: Path, tmp_path: Path) -> None:
    from turnout.config import RoutingConfig

    receipt = upcycle_model(
        dense,
        tmp_path / "up",
        (RoutingConfig(kind="supervised"), None),
        audio=[Path(HEARD[1])],
    )
    assert receipt.same and receipt.ways == receipt.of == 2
