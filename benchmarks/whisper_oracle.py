"""Transformers' Whisper with the weights of one of our model folders: the oracle of the tests and
of whisper_parity.py."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

from turnout.guidance import Task
from turnout.hub.names import whisper_state
from turnout.model_folder import WEIGHTS, ModelFolder
from turnout.text.whisper import WhisperTokenizer

TIE = 1e-3
"""Difference of two log-probabilities that float32 decides by chance."""


@dataclass(frozen=True)
class Written:
    """What the oracle writes of one window."""

    language: str
    no_speech: float
    tokens: tuple[int, ...]
    """Without the prompt and the end."""


class Oracle:
    """A checkpoint in Transformers, float32 on the CPU."""

    def __init__(self, folder: Path) -> None:
        found = ModelFolder.open(folder)
        assert isinstance(found.tokenizer, WhisperTokenizer)
        self.tokenizer = found.tokenizer
        self.config = found.config
        self.model = WhisperForConditionalGeneration(self._shape())
        self.model.generation_config = GenerationConfig.from_dict(self._generation())
        tensors = safetensors.torch.load((folder / WEIGHTS).read_bytes())
        state = self.model.state_dict()
        # By one rule both ways: each of its names says which of ours it is.
        ours = {theirs: next(iter(whisper_state({theirs: t})), None) for theirs, t in state.items()}
        known = {theirs: tensors[name].float() for theirs, name in ours.items() if name in tensors}
        left = set(state) - set(known) - {"model.encoder.embed_positions.weight", "proj_out.weight"}
        assert not left, f"without weights: {sorted(left)}"
        self.model.load_state_dict(known, strict=False)
        self.model.tie_weights()
        self.model.eval()

    def _shape(self) -> WhisperConfig:
        encoder, decoder = self.config.encoder, self.config.decoder
        end = self.tokenizer.end
        return WhisperConfig(
            vocab_size=self.config.vocabulary.size,
            num_mel_bins=self.config.features.num_mels,
            d_model=encoder.d_model,
            encoder_layers=encoder.num_layers,
            encoder_attention_heads=encoder.num_heads,
            encoder_ffn_dim=encoder.d_feedforward,
            decoder_layers=decoder.num_layers,
            decoder_attention_heads=decoder.num_heads,
            decoder_ffn_dim=decoder.d_feedforward,
            max_target_positions=decoder.max_tokens,
            decoder_start_token_id=self.tokenizer.start,
            pad_token_id=end,
            bos_token_id=end,
            eos_token_id=end,
        )

    def _generation(self) -> dict[str, Any]:
        tokenizer, decoder = self.tokenizer, self.config.decoder
        several = self.config.task_token
        content: dict[str, Any] = {
            "decoder_start_token_id": tokenizer.start,
            "eos_token_id": tokenizer.end,
            "pad_token_id": tokenizer.end,
            "bos_token_id": tokenizer.end,
            "no_timestamps_token_id": tokenizer.task(None),
            "max_length": decoder.max_tokens,
            "suppress_tokens": list(decoder.suppressed) or None,
            "begin_suppress_tokens": list(decoder.suppressed_first) or None,
            "is_multilingual": several,
        }
        if several:
            content["lang_to_id"] = {f"<|{c}|>": i for c, i in tokenizer.language_ids.items()}
            content["task_to_id"] = {str(task): tokenizer.task(task) for task in Task}
        return content

    @torch.no_grad()
    def write(self, log_mel: NDArray[np.float32], task: str = "transcribe") -> Written:
        """Greedily, in the language that it finds; `log_mel` is [3000, mels]."""
        features = torch.from_numpy(np.ascontiguousarray(log_mel.T)).unsqueeze(0)
        hidden = self.model.model.encoder(features).last_hidden_state
        first = self.first(hidden)
        ids = self.tokenizer.language_ids
        language = max(ids, key=lambda code: float(first[ids[code]]))
        asked = {"language": language, "task": task} if self.config.task_token else {}
        found = self.model.generate(features, return_timestamps=False, num_beams=1, **asked)
        silent = self.tokenizer.no_speech
        assert silent is not None
        return Written(language, float(first[silent].exp()), self.text(found[0].tolist()))

    def first(self, hidden: torch.Tensor) -> torch.Tensor:
        """Log-probabilities behind `start`."""
        return self.after(hidden, [self.tokenizer.start])[-1]

    @torch.no_grad()
    def after(self, hidden: torch.Tensor, tokens: list[int]) -> torch.Tensor:
        """[tokens, vocabulary]: log-probabilities behind each token."""
        found = self.model.model.decoder(
            input_ids=torch.tensor([tokens]), encoder_hidden_states=hidden
        )
        return self.model.proj_out(found.last_hidden_state)[0].log_softmax(-1)

    @torch.no_grad()
    def margin(
        self, log_mel: NDArray[np.float32], prompt: list[int], one: list[int], other: list[int]
    ) -> float:
        """By how much the oracle prefers the one to the other where two texts part."""
        features = torch.from_numpy(np.ascontiguousarray(log_mel.T)).unsqueeze(0)
        hidden = self.model.model.encoder(features).last_hidden_state
        end = self.tokenizer.end
        pairs = zip([*one, end], [*other, end], strict=False)
        place = next(i for i, (a, b) in enumerate(pairs) if a != b)
        scores = self.after(hidden, [*prompt, *one[:place]])[-1]
        return float(scores[[*one, end][place]] - scores[[*other, end][place]])

    def text(self, tokens: list[int]) -> tuple[int, ...]:
        """Without what is no text."""
        mask = self.tokenizer.text_mask
        return tuple(token for token in tokens if token < len(mask) and mask[token])
