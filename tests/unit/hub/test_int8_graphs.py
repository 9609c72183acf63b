"""Products on int8 are what their whole numbers say, whatever form they have and whoever is beside
a row; what is no matrix of a product stays as it is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from turnout.backends import sessions
from turnout.backends.sessions import open_sessions
from turnout.hub.int8_graphs import SCALE, Rewriting, block_of, int8_graphs, norms_in
from turnout.hub.weights import balanced, scales_of
from turnout.model_folder import DECODER, ENCODER
from turnout.onnx_file import Graph

Arrays = Mapping[str, NDArray[Any]]
OUT, TAKEN = 5, 48


def product(operator: str = "Gemm") -> bytes:
    """y = x W' + b, as the makers of graphs write it."""
    graph = Graph("one")
    places = [] if operator == "Gemm" else ["rows"]
    taken = graph.input("x", "float", *places, "places", TAKEN)
    matrix, bias = graph.weight("m.weight", OUT, TAKEN), graph.weight("m.bias", OUT)
    if operator == "Gemm":
        found = graph.add("Gemm", taken, matrix, bias, transB=1)
    else:
        turned = graph.add("Transpose", matrix, perm=[1, 0])
        found = graph.add("Add", graph.add("MatMul", taken, turned), bias)
    graph.output(found, "y", "float", *places, "places", OUT)
    return graph.to_bytes()


def floats(seed: int = 0) -> dict[str, NDArray[np.float32]]:
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(OUT, TAKEN)) * np.array([[1], [30], [1e-3], [0], [1]])
    return {
        "m.weight": matrix.astype(np.float32),
        "m.bias": random.normal(size=OUT).astype(np.float32),
    }


def in_int8(tensors: Arrays, matrices: frozenset[str]) -> dict[str, NDArray[Any]]:
    found = dict(tensors)
    for name in matrices:
        scales = scales_of(tensors[name])
        found[name] = np.rint(tensors[name] / scales[:, None]).astype(np.int8)
        found[name + SCALE] = scales
    return found


def run(file: str, graph: bytes, tensors: Arrays, x: NDArray[np.float32]) -> NDArray[np.float32]:
    session = open_sessions({file: graph}, lambda: tensors, 1, "weights")[file]
    (found,) = session.run(None, {"x": x})
    return np.asarray(found)


def rounded(x: NDArray[np.float32], block: int) -> NDArray[np.float32]:
    """Numbers as 8 bits hold them, with a scale for each so many of a row."""
    parts = x.reshape(-1, block)
    scales = np.abs(parts).max(axis=1, keepdims=True) / 127
    scales[scales == 0] = 1
    return (np.rint(parts / scales) * scales).reshape(x.shape)


@pytest.mark.parametrize("operator", ["Gemm", "MatMul"])
@pytest.mark.parametrize(("file", "block"), [(ENCODER, TAKEN), (DECODER, 16)])
def test_a_product_is_that_of_the_whole_numbers(operator: str, file: str, block: int) -> None:
    graphs, matrices = int8_graphs({file: product(operator)})
    assert matrices == {"m.weight"}
    tensors = in_int8(floats(), matrices)
    size = (7, TAKEN) if operator == "Gemm" else (2, 3, TAKEN)
    x = np.random.default_rng(1).normal(size=size).astype(np.float32)
    whole = tensors["m.weight"] * tensors["m.weight" + SCALE][:, None]
    wanted = rounded(x, block) @ whole.T + tensors["m.bias"]
    found = run(file, graphs[file], tensors, x)
    np.testing.assert_allclose(found, wanted, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("file", [ENCODER, DECODER])
def test_a_row_knows_no_other(file: str) -> None:
    graphs, matrices = int8_graphs({file: product()})
    tensors = in_int8(floats(), matrices)
    session = open_sessions(graphs, lambda: tensors, 1, "weights")[file]
    x = np.random.default_rng(0).normal(size=(4, TAKEN)).astype(np.float32)
    alone = np.asarray(session.run(None, {"x": x[:1]})[0])
    for louder in (1e-3, 1.0, 100.0, 1e4):
        mates = np.concatenate([x[:1], np.float32(louder) * x[1:]])
        together = np.asarray(session.run(None, {"x": mates})[0])
        np.testing.assert_allclose(together[:1], alone, rtol=0, atol=2e-5)


def test_processors_that_may_overflow_take_exact_kernels(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Which ONNX Runtime takes here as well, where it is told to: they multiply other numbers, and
    give the same."""
    graphs, matrices = int8_graphs({ENCODER: product()})
    tensors = in_int8(floats(), matrices)
    x = np.random.default_rng(2).normal(size=(7, TAKEN)).astype(np.float32)
    monkeypatch.setattr(sessions.platform, "machine", lambda: "x86_64")
    found = []
    for flags in ("flags : avx2 avx512_vnni", "flags : avx2"):
        monkeypatch.setattr(sessions, "CPU_FLAGS", tmp_path / "cpuinfo")
        (tmp_path / "cpuinfo").write_text(flags)
        assert sessions.sums_in_16_bits() == ("vnni" not in flags)
        found.append(run(ENCODER, graphs[ENCODER], tensors, x))
    np.testing.assert_allclose(*found, rtol=1e-6, atol=1e-6)
    (tmp_path / "cpuinfo").unlink()
    assert sessions.sums_in_16_bits()
    monkeypatch.setattr(sessions.platform, "machine", lambda: "arm64")
    assert not sessions.sums_in_16_bits()


@pytest.mark.parametrize("file", [ENCODER, DECODER])
def test_no_rows_and_rows_of_zeros(file: str) -> None:
    """An expert may have no frame, and digital silence is zero somewhere."""
    graphs, matrices = int8_graphs({file: product()})
    tensors = in_int8(floats(), matrices)
    assert run(file, graphs[file], tensors, np.zeros((0, TAKEN), np.float32)).shape == (0, OUT)
    found = run(file, graphs[file], tensors, np.zeros((2, TAKEN), np.float32))
    np.testing.assert_array_equal(found, np.tile(tensors["m.bias"], (2, 1)))


def test_a_shared_embedding_is_looked_up_and_multiplied_with() -> None:
    graph = Graph("tied")
    table = graph.weight("table", OUT, TAKEN)
    rows = graph.add("Gather", table, graph.input("ids", "int64", "rows"))
    graph.output(rows, "rows_of_it", "float", "rows", TAKEN)
    graph.output(graph.add("Gemm", rows, table, transB=1), "y", "float", "rows", OUT)
    graphs, matrices = int8_graphs({DECODER: graph.to_bytes()})
    tensors = in_int8({"table": floats()["m.weight"]}, matrices)
    session = open_sessions(graphs, lambda: tensors, 1, "weights")[DECODER]
    rows_of_it, found = (np.asarray(one) for one in session.run(None, {"ids": np.array([4, 1])}))
    whole = tensors["table"] * tensors["table" + SCALE][:, None]
    np.testing.assert_array_equal(rows_of_it, whole[[4, 1]])
    # Scales of blocks and of the whole row are not the same: twice half a step of 127.
    np.testing.assert_allclose(
        found, whole[[4, 1]] @ whole.T, rtol=0, atol=0.02 * np.abs(found).max()
    )


def test_what_something_else_takes_stays_in_floats() -> None:
    """A router's matrix, one that is scaled, one that is looked up alone, one without a product."""
    graph = Graph("others")
    x = graph.input("x", "float", "rows", TAKEN)
    for name in ("encoder.routers.0.linear.weight", "scaled", "twice"):
        matrix = graph.weight(name, OUT, TAKEN)
        found = graph.add("Gemm", x, matrix, transB=1, alpha=2.0 if name == "scaled" else 1.0)
        graph.output(found, f"y.{name}", "float", "rows", OUT)
    graph.output(graph.add("Exp", graph.weight("twice", OUT, TAKEN)), "exp", "float", OUT, TAKEN)
    ids = graph.input("ids", "int64", "rows")
    places = graph.add("Gather", graph.weight("positions", OUT, TAKEN), ids)
    graph.output(places, "places", "float", "rows", TAKEN)
    graphs, matrices = int8_graphs({ENCODER: graph.to_bytes()})
    assert not matrices
    assert open_sessions(
        graphs,
        lambda: {
            name: np.ones((OUT, TAKEN), np.float32)
            for name in ("encoder.routers.0.linear.weight", "scaled", "twice", "positions")
        },
        1,
        "weights",
    )


def test_one_graphs_reason_holds_for_both() -> None:
    other = Graph("other")
    other.output(other.add("Exp", other.weight("m.weight", OUT, TAKEN)), "y", "float", OUT, TAKEN)
    assert int8_graphs({ENCODER: product(), DECODER: other.to_bytes()})[1] == frozenset()


def test_frames_are_rounded_once_for_all_that_is_made_of_them() -> None:
    graph = Graph("three")
    x = graph.input("x", "float", "rows", TAKEN)
    for name in "qkv":
        found = graph.add("Gemm", x, graph.weight(name, OUT, TAKEN), transB=1)
        graph.output(found, f"y.{name}", "float", "rows", OUT)
    graphs, _ = int8_graphs({ENCODER: graph.to_bytes()})
    assert graphs[ENCODER].count(b"QuantizeLinear\x3a") == 1


def test_a_norm_is_known_by_what_alone_takes_it() -> None:
    """Not where its output is looked at, its matrix is looked up in, or taken twice."""
    graph = Graph("norms")
    x, ids = graph.input("x", "float", "rows", TAKEN), graph.input("ids", "int64", "rows")

    def norm(name: str) -> str:
        parts = [graph.weight(f"{name}.{kind}", TAKEN) for kind in ("weight", "bias")]
        return graph.add("LayerNormalization", x, *parts, axis=-1)

    def multiplied(given: str, *names: str) -> None:
        for name in names:
            found = graph.add("Gemm", given, graph.weight(name, OUT, TAKEN), transB=1)
            graph.output(found, f"y.{given}.{name}", "float", "rows", OUT)

    multiplied(norm("good"), "q", "k")
    seen = norm("seen")
    multiplied(seen, "v")
    graph.output(graph.add("Exp", seen), "exp", "float", "rows", TAKEN)
    multiplied(norm("tied"), "table")
    graph.output(graph.add("Gather", "table", ids), "rows_of_it", "float", "rows", TAKEN)
    multiplied(norm("first"), "shared")
    multiplied(norm("second"), "shared")
    good = ("good.weight", "good.bias")
    assert norms_in({ENCODER: graph.to_bytes()}) == {good: {"q", "k"}}
    other = Graph("other")
    other.output(other.add("Exp", other.weight("q", OUT, TAKEN)), "e", "float", OUT, TAKEN)
    assert norms_in({ENCODER: graph.to_bytes(), DECODER: other.to_bytes()}) == {}


def test_what_is_loud_behind_a_norm_is_evened_out() -> None:
    """Golden values: a norm that is 4 times as loud in one place gives 2 of it to the columns."""
    weight, bias = np.array([4, 1], np.float32), np.zeros(2, np.float32)
    matrix = np.array([[1, 1], [10, 10]], np.float32)
    np.testing.assert_allclose(balanced([weight, bias], [matrix]), [2**0.5, 2**-0.5], rtol=1e-6)
    silent = balanced([np.zeros(2, np.float32)] * 2, [np.zeros((2, 2), np.float32)])
    np.testing.assert_allclose(silent, 1, rtol=1e-6)


@pytest.mark.parametrize(("taken", "block"), [(512, 128), (288, 32), (144, 16), (24, 0), (8, 0)])
def test_blocks_divide_a_row(taken: int, block: int) -> None:
    assert block_of(taken) == block


def per_tensor(rewriting: Rewriting, hidden: str) -> tuple[str, str]:
    """What onnxruntime's dynamic quantisation does: one scale for all rows."""
    graph = rewriting.graph
    loudest = graph.add("ReduceMax", graph.add("Abs", hidden), [0, 1], keepdims=1)
    own = graph.add("Mul", loudest, 1 / 127)
    middle = np.array(128, dtype=np.uint8)
    return graph.add("QuantizeLinear", hidden, graph.add("Reshape", own, [1]), middle), own


def test_the_law_is_broken_by_one_scale_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of `test_a_row_knows_no_other`."""
    monkeypatch.setattr(Rewriting, "_rounded", per_tensor)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        test_a_row_knows_no_other(ENCODER)
