"""A SpeechModel as a Backend: for runs in training and for GPUs. The one door to the workshop."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.random import fork_rng

from turnout.backends.torch_memory import memory_asked
from turnout.config import ModelConfig
from turnout.decoding.backend import DecoderState, Encoded, StepOutput, StepQuery
from turnout.errors import ModelFolderError, UsageError
from turnout.experts.routing import Routing
from turnout.guidance import Guidance, bandwidth_indices
from turnout.model.build import build_model
from turnout.model.convert import fit_state
from turnout.model.decoder import (
    DecoderCache,
    DecoderOutput,
    Memory,
    keep_tokens,
    select_rows,
)
from turnout.model.speech_model import SpeechModel
from turnout.model_folder import CONFIG, WEIGHTS, ModelFolder


@dataclass(frozen=True)
class TorchRows:
    """The decoder rows of a DecoderState."""

    guide: Tensor
    memory: Memory
    cache: DecoderCache


class TorchBackend:
    """Runs the model where its weights lie, in evaluation mode, without gradients. Raises
    MemoryError where the device has too little memory for a batch.

    In a process that was forked from the one that made it, PyTorch goes on with one thread.
    """

    def __init__(self, model: SpeechModel, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        with memory_asked():
            self.model = model.to(self.device).eval()
        self._process = os.getpid()
        self._learned = model.config.encoder.routing.learned
        self._encoder_experts = model.config.expert_map(model.config.encoder.routing)
        self._decoder_experts = model.config.expert_map(model.config.decoder.routing)

    @property
    def config(self) -> ModelConfig:
        """The model's shape."""
        return self.model.config

    @memory_asked()
    @torch.inference_mode()
    def encode(
        self,
        log_mel: NDArray[np.float32],
        frame_mask: NDArray[np.bool_],
        guidance: Sequence[Guidance],
    ) -> Encoded:
        """See `Backend.encode`; raises UsageError for a GPU's model in a forked process."""
        self._own_threads()
        token = self.config.bandwidth_token
        encoded = self.model.encode(
            self._tensor(log_mel),
            self._tensor(frame_mask),
            torch.tensor(self._encoder_experts.indices(guidance), device=self.device),
            torch.tensor(bandwidth_indices(guidance, needed=token), device=self.device),
        )
        log_probs = None
        if encoded.ctc_logits is not None:
            log_probs = encoded.ctc_logits.float().log_softmax(dim=-1).cpu().numpy()
        shape = (0, *encoded.frame_mask.shape)
        indices = [routing.expert_index.cpu().numpy() for routing in encoded.routings]
        hidden = None
        if self.model.decoder is not None:
            hidden = Memory(*self.model.decoder.cross(encoded.hidden), encoded.frame_mask)
        return Encoded(
            encoded.frame_mask.cpu().numpy(),
            log_probs,
            np.stack(indices) if indices else np.zeros(shape, dtype=np.int64),
            hidden,
            probabilities_of(encoded.routings) if self._learned else None,
        )

    @memory_asked()
    @torch.inference_mode()
    def start(
        self, encoded: Encoded, rows: NDArray[np.int64], guidance: Sequence[Guidance]
    ) -> DecoderState:
        """See `Backend.start`."""
        memory: Memory = encoded.hidden
        index = self._tensor(rows)
        guide = torch.tensor(self._decoder_experts.indices(guidance), device=self.device)
        cache = self.model.empty_cache(len(rows))
        return DecoderState(rows, TorchRows(guide, Memory(*select_rows(memory, index)), cache))

    @memory_asked()
    @torch.inference_mode()
    def step(
        self,
        state: DecoderState,
        tokens: NDArray[np.int64],
        counts: NDArray[np.int64],
        query: StepQuery,
    ) -> tuple[StepOutput, DecoderState]:
        """See `Backend.step`."""
        self._own_threads()
        held: TorchRows = state.cache
        best, log_probs, scored, decoded = self.model.next_tokens(
            self._tensor(tokens),
            self._tensor(counts),
            held.guide,
            held.memory,
            held.cache,
            self._tensor(query.positions),
            self._tensor(query.allowed),
            self._tensor(query.scored),
            torch.arange(query.best),  # only its length counts
        )
        found = StepOutput(best.cpu().numpy(), log_probs.cpu().numpy(), scored.cpu().numpy())
        return found, DecoderState(state.rows, TorchRows(held.guide, held.memory, decoded.cache))

    @memory_asked()
    @torch.inference_mode()
    def keep(self, state: DecoderState, counts: NDArray[np.int64]) -> DecoderState:
        """See `Backend.keep`."""
        held: TorchRows = state.cache
        most = int(counts.max(initial=0))
        cache = keep_tokens(held.cache, self._tensor(counts), most)
        return DecoderState(state.rows, TorchRows(held.guide, held.memory, cache))

    @memory_asked()
    @torch.inference_mode()
    def attention(
        self,
        encoded: Encoded,
        rows: NDArray[np.int64],
        guidance: Sequence[Guidance],
        tokens: NDArray[np.int64],
        counts: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """See `Backend.attention`."""
        self._own_threads()
        held: TorchRows = self.start(encoded, rows, guidance).cache
        output = self._read(held, tokens, counts)
        assert self.model.decoder is not None, "this model has no decoder"
        return self.model.decoder.attention(output, held.memory).float().cpu().numpy()

    @memory_asked()
    @torch.inference_mode()
    def decoder_probabilities(
        self,
        encoded: Encoded,
        rows: NDArray[np.int64],
        guidance: Sequence[Guidance],
        tokens: NDArray[np.int64],
        counts: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """See `TellsRouting.decoder_probabilities`."""
        self._own_threads()
        held: TorchRows = self.start(encoded, rows, guidance).cache
        found = probabilities_of(self._read(held, tokens, counts).routings)
        return np.zeros((0, *tokens.shape, 0), np.float32) if found is None else found

    def _read(
        self, held: TorchRows, tokens: NDArray[np.int64], counts: NDArray[np.int64]
    ) -> DecoderOutput:
        """Whole texts through the decoder at once."""
        assert self.model.decoder is not None, "this model has no decoder"
        return self.model.decoder(
            self._tensor(tokens),
            self._tensor(counts),
            held.guide,
            held.memory,
            held.cache,
            self._tensor(np.zeros((len(tokens), 1), dtype=np.int64)),  # fewest logits: none is read
        )

    @memory_asked()
    @torch.inference_mode()
    def select(self, state: DecoderState, rows: NDArray[np.int64]) -> DecoderState:
        """See `Backend.select`."""
        held: TorchRows = state.cache
        index = self._tensor(rows)
        entries = state.rows[rows]
        # A beam's hypotheses trade places inside their utterance: what they attend to stays.
        same = np.array_equal(entries, state.rows)
        memory = held.memory if same else Memory(*select_rows(held.memory, index))
        cache = DecoderCache(*select_rows(held.cache, index))
        return DecoderState(entries, TorchRows(held.guide.index_select(0, index), memory, cache))

    def _own_threads(self) -> None:
        """PyTorch's threads do not come along with a fork, and it would wait for them for ever."""
        if os.getpid() == self._process:
            return
        if self.device.type != "cpu":
            raise UsageError(
                f"this model was loaded on '{self.device}' before the process was forked, which no "
                "GPU survives: load it in the process that uses it, or start that with 'spawn'"
            )
        torch.set_num_threads(1)
        self._process = os.getpid()

    def _tensor(self, array: NDArray[np.generic]) -> Tensor:
        # Queries are broadcast, and so read-only: PyTorch takes only what may be written.
        return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(self.device)


def probabilities_of(routings: Sequence[Routing]) -> NDArray[np.float32] | None:
    """[routings, batch, frames, experts], where there is a routing."""
    found = [routing.probabilities.cpu().numpy() for routing in routings]
    return np.stack(found) if found else None


def open_backend(
    folder: ModelFolder, device: str = "auto", threads: int | None = None
) -> TorchBackend:
    """The folder's model on 'cpu', 'cuda' or, with 'auto', on a GPU where there is one.

    Raises UsageError for a device that is not there, and ModelFolderError.
    """
    available = torch.cuda.is_available()
    if device == "auto":
        device = "cuda" if available else "cpu"
    if device.split(":")[0] not in ("cpu", "cuda") or (device != "cpu" and not available):
        there = "auto, cpu and cuda" if available else "auto and cpu (PyTorch sees no GPU)"
        raise UsageError(f"no device '{device}': this machine has {there}")
    if threads is not None:
        torch.set_num_threads(threads)
    return TorchBackend(load_model(folder), device)


def stored_tensors(folder: ModelFolder) -> dict[str, Tensor]:
    """The folder's tensors by name, as they are stored; raises ModelFolderError, for int8
    too."""
    folder.require_floats("PyTorch, training and 'turnout export' take")
    try:
        return safetensors.torch.load(folder.read(WEIGHTS))
    except safetensors.SafetensorError as error:
        raise ModelFolderError(f"model folder {folder.path}: {WEIGHTS}: {error}") from error


def load_model(folder: ModelFolder) -> SpeechModel:
    """The folder's model in float32, on the CPU, in evaluation mode; raises ModelFolderError."""
    state = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in stored_tensors(folder).items()
    }
    check_shapes(folder, state)
    with fork_rng(devices=[]):
        model = build_model(folder.config)
    fitted = fit_state(model, state)
    wrong = (*fitted.missing, *fitted.mismatched, *fitted.copied, *fitted.unexpected)
    if wrong:
        raise misfit(folder, f"{len(wrong)} tensors do not fit, the first is {wrong[0]}")
    return model.eval()


def check_shapes(folder: ModelFolder, state: Mapping[str, Tensor]) -> None:
    """Raise ModelFolderError where the weights are not of the shapes that config.json says.

    Nothing is made in those shapes: a small file may ask for more than memory holds.
    """
    config = folder.config
    modules = sum(
        routing.num_experts if routing.learned and routing.routes(layer) else 1
        for part, routing in ((part, part.routing) for part in (config.encoder, config.decoder))
        for layer in range(min(part.num_layers, len(state) + 1))
    )
    if modules > len(state):
        raise misfit(
            folder, f"it has {len(state)} tensors, too few for {modules} layers or experts"
        )
    try:
        with torch.device("meta"):
            shapes = {name: item.shape for name, item in build_model(config).state_dict().items()}
    except (RuntimeError, ValueError, TypeError, OverflowError) as error:
        raise misfit(folder, "no model can have the sizes that are there") from error
    for name, shape in shapes.items():
        if name in state and state[name].shape != shape:
            found, wanted = list(state[name].shape), list(shape)
            raise misfit(folder, f"{name} is {found}, and {wanted} is expected")


def misfit(folder: ModelFolder, reason: str) -> ModelFolderError:
    """The error for weights and configuration of different models."""
    return ModelFolderError(
        f"model folder {folder.path}: {WEIGHTS} does not belong to its {CONFIG}: {reason}"
    )
