"""The shape of a model: features, vocabulary, encoder, decoder. No torch here."""

from dataclasses import dataclass, field
from math import inf
from typing import Literal

from turnout.config.bounds import at_least, require
from turnout.config.routing import RoutingConfig, check_domains, check_values
from turnout.guidance import BASE, ExpertMap, Guide, Task

FEWEST_TOKENS = 8
"""The decoder's prompt, a few of text, and the end."""
FRAMES_PER_SECOND = 100
"""Of the features, whose hop is 10 ms."""


@dataclass(frozen=True, kw_only=True)
class FeatureConfig:
    """How 16 kHz samples become log-mel frames (25 ms windows, 10 ms hop)."""

    kind: Literal["kaldi", "whisper"] = "kaldi"
    """Kaldi's filterbank (kaldi-native-fbank without dither), or Whisper's window and filters."""
    num_mels: int = 80
    """Mel bands per frame."""
    normalization: Literal["none", "utterance", "peak", "whisper"] = "peak"
    """'utterance': mean 0, variance 1 per band; 'peak': decibels below the loudest value, level
    invariant; 'whisper': Whisper's clamp and scale; 'none': the natural logarithm as it is."""
    dynamic_range_db: float = 80.0
    """'peak' only: what lies further below the loudest value is raised to this distance."""
    padding: Literal["none", "window"] = "none"
    """'none': as many frames as the audio has; 'window': always those of the model's whole window,
    the rest silence, as Whisper hears it."""

    def __post_init__(self) -> None:
        require(self.num_mels > 0, f"num_mels is {self.num_mels}: it must be at least 1")
        require(self.dynamic_range_db > 0, "dynamic_range_db must be above 0")
        require(
            (self.kind == "whisper") == (self.normalization == "whisper"),
            "normalization 'whisper' belongs to features of kind 'whisper', and to no other",
        )


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Log-mel frames -> hidden frames."""

    num_layers: int = 6
    """Blocks."""
    block: Literal["transformer", "conformer"] = "conformer"
    """Pre-norm Transformer, or Conformer with both half feed-forwards routed."""
    d_model: int = 144
    """Width of the hidden frames; the decoder's as well."""
    num_heads: int = 4
    """Attention heads."""
    d_feedforward: int = 576
    """Inner width of each expert."""
    activation: Literal["relu", "gelu", "silu"] = "silu"
    """Inside the feed-forwards."""
    subsampling: Literal["stack4", "conv2", "conv4", "conv2d4"] = "conv4"
    """'stack4': four frames stacked (25 Hz). 'conv2': two convolutions, the second of stride 2
    (Whisper, 50 Hz). 'conv4': two convolutions of stride 2 (25 Hz). 'conv2d4': two convolutions of
    stride 2 over time and mel bands (Conformer, 25 Hz)."""
    subsampling_channels: int = 32
    """'conv2d4' only: channels of its convolutions."""
    positions: Literal["rotary", "sinusoidal", "whisper", "learned"] = "rotary"
    """'sinusoidal': added, interleaved; 'whisper': added, halves; 'learned': up to max_frames."""
    max_frames: int = 1500
    """Longest input in hidden frames, the bandwidth token included, where positions are 'learned':
    at least those of the model's window."""
    conv_kernel: int = 15
    """Conformer only: width of the depthwise convolution, odd, in hidden frames."""
    left_context: int | None = None
    """Hidden frames that attention sees to the left, and the bandwidth token before them all;
    unlimited by default."""
    right_context: int | None = None
    """Hidden frames that attention sees to the right; unlimited by default."""
    dropout: float = 0.1
    """On attention and feed-forward outputs and inside the feed-forward, in training."""
    routing: RoutingConfig = field(default_factory=RoutingConfig)
    """How the encoder's frames find their experts."""

    def __post_init__(self) -> None:
        check_stack("encoder", self, self.d_model)
        at_least(1, self, "encoder.", "num_layers", "d_feedforward", "subsampling_channels")
        at_least(1, self, "encoder.", "max_frames", "conv_kernel")
        at_least(0, self, "encoder.", "left_context", "right_context")
        require(self.conv_kernel % 2 == 1, f"conv_kernel is {self.conv_kernel}: it must be odd")
        require(0 <= self.dropout < 1, f"dropout is {self.dropout}: from 0 to below 1")

    @property
    def subsampling_factor(self) -> int:
        """Feature frames per hidden frame."""
        return 2 if self.subsampling == "conv2" else 4


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """Tokens and hidden frames -> the next token."""

    num_layers: int = 2
    """Blocks; 0 leaves the decoder out (CTC alone)."""
    num_heads: int = 4
    """Attention heads."""
    d_feedforward: int = 576
    """Inner width of each expert."""
    activation: Literal["relu", "gelu", "silu"] = "silu"
    """Inside the feed-forwards."""
    positions: Literal["rotary", "sinusoidal", "learned"] = "sinusoidal"
    """Of the tokens."""
    max_tokens: int = 448
    """Longest token sequence, prompt included."""
    tie_embeddings: bool = True
    """Whether the output layer is the embedding."""
    dropout: float = 0.1
    """As the encoder's."""
    suppressed: tuple[int, ...] = ()
    """Ids that are never written, beside those that are no text."""
    suppressed_first: tuple[int, ...] = ()
    """Ids that no text begins with; with the end among them, none is empty."""
    alignment_heads: tuple[tuple[int, int], ...] = ()
    """(layer, head) pairs of the cross-attention that follow what is spoken: they give words
    their times."""
    routing: RoutingConfig = field(default_factory=lambda: RoutingConfig(guided_by=(Guide.TASK,)))
    """How the decoder's tokens find their experts."""

    def __post_init__(self) -> None:
        at_least(0, self, "decoder.", "num_layers")
        at_least(1, self, "decoder.", "d_feedforward")
        at_least(FEWEST_TOKENS, self, "decoder.", "max_tokens")
        require(0 <= self.dropout < 1, f"dropout is {self.dropout}: from 0 to below 1")
        # One that is left out may come from a checkpoint that had it: of it nothing is used.
        for layer, head in self.alignment_heads if self.num_layers else ():
            require(
                0 <= layer < self.num_layers and 0 <= head < self.num_heads,
                f"decoder.alignment_heads names head {head} of layer {layer}; there are "
                f"{self.num_layers} layers of {self.num_heads} heads",
            )


@dataclass(frozen=True, kw_only=True)
class VocabularyConfig:
    """The ids: reserved ones first, then bytes and pieces."""

    size: int = 512
    """Rows of the embedding and of the CTC head, reserved ids included."""
    languages: tuple[str, ...] = ("ar", "en")
    """Spoken languages."""
    translations: tuple[tuple[str, str], ...] = (("ar", "en"), ("en", "de"))
    """(spoken, target) pairs that the model translates."""

    def __post_init__(self) -> None:
        require(self.size > 0, "vocabulary.size must be above 0")
        require(len(self.languages) > 0, "vocabulary.languages must name at least one language")
        for source, _ in self.translations:
            require(
                source in self.languages,
                f"vocabulary.translations begins at '{source}', which is not among the languages "
                f"{', '.join(self.languages)}",
            )

    @property
    def all_languages(self) -> tuple[str, ...]:
        """Spoken languages in order, then those that are only written."""
        targets = (target for _, target in self.translations)
        return tuple(dict.fromkeys((*self.languages, *targets)))

    @property
    def only_language(self) -> str | None:
        """The spoken language where there is but one: nobody has to find it."""
        return self.languages[0] if len(self.languages) == 1 else None

    def targets_of(self, language: str) -> tuple[str, ...]:
        """Languages that speech in `language` is translated to."""
        return tuple(target for source, target in self.translations if source == language)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A whole model."""

    features: FeatureConfig = field(default_factory=FeatureConfig)
    """Samples -> frames."""
    vocabulary: VocabularyConfig = field(default_factory=VocabularyConfig)
    """Ids and languages."""
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    """Frames -> hidden frames."""
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    """Hidden frames -> tokens."""
    ctc: bool = True
    """Whether the encoder has a CTC head (always the transcript of what is spoken)."""
    bandwidth_token: bool = True
    """Whether a token that names the bandwidth stands before the encoder's frames."""
    task_token: bool = True
    """Whether the decoder's prompt names the task; a neutral token stands there when off."""
    window_seconds: float = 30.0
    """Longest segment of audio that the model takes at once; longer recordings are cut."""
    tasks: tuple[Task, ...] = tuple(Task)
    """What it can be asked for; one that was cut out of a larger model may have lost a task."""
    domains: tuple[str, ...] = (BASE,)
    """Kinds of recordings, by names of one's own, that can guide to an expert; the first is meant
    where nobody says which."""

    def __post_init__(self) -> None:
        if self.decoder.num_layers:
            check_stack("decoder", self.decoder, self.encoder.d_model)
        require(self.ctc or self.decoder.num_layers > 0, "a model needs a CTC head or a decoder")
        require(0 < self.window_seconds < inf, "window_seconds must be above 0, and finite")
        if self.encoder.positions == "learned":
            check_positions(self)
        check_domains(self.domains)
        require(len(self.tasks) > 0, f"tasks must name at least one of {', '.join(Task)}")
        for name, stack in (("encoder", self.encoder), ("decoder", self.decoder)):
            experts = self.expert_map(stack.routing)
            check_values(f"{name}.routing.experts_for", experts)
            require(
                Guide.WINDOW not in experts.guides or self.features.padding == "window",
                f"{name}.routing is guided by the window, and features.padding is "
                f"'{self.features.padding}': only models of padded windows have two kinds of them",
            )
        for name in ("suppressed", "suppressed_first"):
            ids = getattr(self.decoder, name) if self.decoder.num_layers else ()
            strange = next((i for i in ids if not 0 <= i < self.vocabulary.size), None)
            require(
                strange is None,
                f"decoder.{name} names the id {strange}; ids are 0 to {self.vocabulary.size - 1}",
            )

    @property
    def window_hidden_frames(self) -> int:
        """Hidden frames of the longest input: the window's, and the bandwidth token."""
        # Kaldi's features round half a hop up, Whisper's leave it out.
        frames = max(int(self.window_seconds * FRAMES_PER_SECOND + 0.5), 1)
        return -(-frames // self.encoder.subsampling_factor) + self.bandwidth_token

    def guided_by(self, guide: Guide) -> bool:
        """Whether some expert is chosen by it."""
        stacks = (self.encoder.routing, self.decoder.routing)
        used = stacks if self.decoder.num_layers else stacks[:1]
        return any(guide in routing.guided_by for routing in used if routing.guided)

    def expert_map(self, routing: RoutingConfig) -> ExpertMap:
        """Which guidance selects which expert (or group) under `routing`."""
        return ExpertMap.of(
            routing.guided_by if routing.guided else (),
            languages=self.vocabulary.languages,
            target_languages=self.vocabulary.all_languages,
            domains=self.domains,
            own=routing.experts_for if routing.guided else (),
        )

    def experts_of(self, routing: RoutingConfig, layer: int) -> int:
        """Experts of each feed-forward of a layer: those of all groups together; 1 where it is
        dense."""
        if not routing.routes(layer):
            return 1
        groups = self.expert_map(routing).num_groups
        return groups * (routing.num_experts if routing.learned else 1)


def check_positions(model: ModelConfig) -> None:
    """Raise ConfigError where the window has more hidden frames than positions can be learned."""
    needed = model.window_hidden_frames
    token = ", the bandwidth token among them" if model.bandwidth_token else ""
    require(
        needed <= model.encoder.max_frames,
        f"encoder.max_frames is {model.encoder.max_frames}: a window of {model.window_seconds:g} s "
        f"has {needed} hidden frames{token}, each with a learned position: raise it to {needed}, "
        "or take a shorter window_seconds",
    )


def check_stack(name: str, stack: EncoderConfig | DecoderConfig, d_model: int) -> None:
    """Raise ConfigError where width, heads and routed layers of a stack do not go together."""
    heads, last = stack.num_heads, stack.num_layers - 1
    require(
        heads > 0 and d_model > 0 and d_model % heads == 0,
        f"{name}: d_model {d_model} is not a multiple of num_heads {heads}",
    )
    require(
        (d_model // heads) % 2 == 0,
        f"{name}: d_model / num_heads is {d_model // heads}: rotary positions need it even",
    )
    outside = [layer for layer in stack.routing.layers or () if not 0 <= layer <= last]
    require(not outside, f"{name}.routing.layers names {outside}; the layers are 0 to {last}")
