"""What one device hears at once: the sizes that operations and activations follow from."""

from dataclasses import dataclass, replace

from turnout.config import DecoderConfig, EncoderConfig, ModelConfig, TrainConfig
from turnout.config.model import FRAMES_PER_SECOND
from turnout.config.planning import PlanConfig
from turnout.errors import ConfigError
from turnout.guidance import Window

PROMPT_TOKENS = 4
"""Start, language, task and target language stand before a text."""
USUAL_SECONDS = 15.0


@dataclass(frozen=True, kw_only=True)
class MicroBatch:
    """Utterances of one length, without padding: batches are of like lengths, and what is planned
    is the most that `batch_seconds` allows."""

    utterances: int
    audio_seconds: float
    """Speech in it; where features are padded to the window, less than is computed on."""
    feature_frames: int
    """Of one utterance, at 100 a second."""
    frames: int
    """Hidden frames of one utterance, the bandwidth token included."""
    tokens: int
    """Of one decoder row, prompt included; 0 where no decoder writes. One row an utterance."""
    targets: int
    """Tokens that CTC aligns to one utterance."""

    @property
    def all_frames(self) -> int:
        """Hidden frames of the batch."""
        return self.utterances * self.frames

    @property
    def all_tokens(self) -> int:
        """Decoder tokens of the batch."""
        return self.utterances * self.tokens


def micro_batch_of(config: TrainConfig, plan: PlanConfig) -> MicroBatch:
    """The micro-batch of a run: as many utterances as `batch_seconds` holds, at least one.

    Raises ConfigError for utterances longer than the model's window.
    """
    model = config.model
    seconds = plan.utterance_seconds or min(USUAL_SECONDS, model.window_seconds)
    if seconds > model.window_seconds:
        raise ConfigError(
            f"utterance_seconds is {seconds:g}, and the model's window has "
            f"{model.window_seconds:g} s: utterances are at most as long as that"
        )
    padded = model.features.padding == "window" and config.data.window is Window.PADDED
    heard = model.window_seconds if padded else seconds
    utterances = max(1, int(config.data.batch_seconds / heard))
    targets = round(plan.tokens_per_second * seconds)
    batch = of_length(model, utterances, heard, targets, audio_seconds=utterances * seconds)
    return batch if config.objective.decodes else replace(batch, tokens=0)


def taught_batch_of(config: TrainConfig, batch: MicroBatch) -> MicroBatch:
    """What a teacher hears of it: windows are padded; and writes, where that is compared."""
    model, count = config.model, batch.utterances
    padded = model.features.padding == "window"
    heard = model.window_seconds if padded else batch.feature_frames / FRAMES_PER_SECOND
    clean = of_length(model, count, heard, batch.targets, audio_seconds=batch.audio_seconds)
    return replace(clean, tokens=batch.tokens if config.objective.distil_decoder else 0)


def of_length(
    model: ModelConfig, utterances: int, heard: float, targets: int, *, audio_seconds: float
) -> MicroBatch:
    """Utterances of `heard` seconds, silence behind them included; frames are rounded up as the
    subsampling does."""
    features = max(round(heard * FRAMES_PER_SECOND), 1)
    frames = -(-features // model.encoder.subsampling_factor) + model.bandwidth_token
    most = model.decoder.max_tokens
    tokens = min(targets + PROMPT_TOKENS, most) if model.decoder.num_layers else 0
    return MicroBatch(
        utterances=utterances,
        audio_seconds=audio_seconds,
        feature_frames=features,
        frames=frames,
        tokens=tokens,
        targets=targets,
    )


def stacks_of(
    model: ModelConfig, batch: MicroBatch
) -> tuple[tuple[EncoderConfig | DecoderConfig, int], ...]:
    """Encoder and decoder, each with the frames or tokens of a batch that go through it."""
    stacks: list[tuple[EncoderConfig | DecoderConfig, int]] = [(model.encoder, batch.all_frames)]
    if batch.tokens:
        stacks.append((model.decoder, batch.all_tokens))
    return tuple(stacks)
