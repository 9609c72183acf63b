"""What a forward pass keeps for the backward pass, in bytes, operation by operation.

Autograd keeps of each operation what its derivative needs. N frames of width d, inner width f:

- LayerNorm: its input, in float32, and mean and 1 / deviation of each frame: 4 N d + 8 N.
- Linear: its input. Several that read one input keep it once; under autocast each makes a bfloat16
  copy of its own, and keeps that.
- Fused attention: queries, keys, values, output, and a sum for each frame and head: no scores. On
  CUDA its kernels take heads of whole 16 bytes alone; others keep all scores, in float32, and
  under autocast queries, keys and values in float32 as well.
- ReLU: its output, which the next Linear keeps anyway. GELU, SiLU: their input, beside it.
- Dropout: what it multiplied by, as large as what it dropped from, and nothing else.
- A gate: what it multiplies, and itself. A softmax: its output, in float32.

A run computes in float32, or under autocast with products in bfloat16 and LayerNorm, softmax and
the stream between layers in float32, as on CUDA. (On a CPU autocast leaves LayerNorm in bfloat16:
there it is less.) Weights are counted elsewhere, masks of booleans and indices of experts here
where they grow with the frames. Experts take all frames together, however they share them.
"""

from dataclasses import dataclass

from turnout.config import (
    DecoderConfig,
    EncoderConfig,
    ModelConfig,
    RoutingConfig,
    TrainConfig,
)
from turnout.planning.micro_batch import MicroBatch
from turnout.planning.weights import feed_forwards_of

SINGLE, HALF, INDEX = 4, 2, 8
"""Bytes of a number in float32 and in bfloat16, and of an index."""
ALIGNED = 16
"""Bytes of which the heads of fused attention have a multiple on CUDA."""
LEVELS = 256
"""Steps of the rate of dropout, which is off below half of one."""


@dataclass(frozen=True)
class Kept:
    """How large what is kept is, by the precision of products."""

    product: int
    """Bytes of a number that a product gives: 4, or 2 under autocast."""
    whole_heads: bool
    """Whether heads must have whole 16 bytes for attention to be fused: not on a CPU."""

    @classmethod
    def of(cls, config: TrainConfig) -> "Kept":
        """As a run computes."""
        product = HALF if config.precision == "bfloat16" else SINGLE
        return cls(product, config.device != "cpu")

    def inputs(self, numbers: int, readers: int = 1) -> int:
        """A float32 input that so many Linears read."""
        return numbers * SINGLE if self.product == SINGLE else numbers * self.product * readers


def saved_bytes(config: TrainConfig, batch: MicroBatch) -> int:
    """Of one micro-batch."""
    model, kept = config.model, Kept.of(config)
    encoder, width, rows = model.encoder, model.encoder.d_model, model.vocabulary.size
    frames = batch.all_frames
    found = (
        subsampling_bytes(model, batch, kept) + mask(encoder.dropout, frames * width) * kept.product
    )
    found += encoder.num_layers * encoder_attention(encoder, batch, kept)
    found += feed_forwards(model, encoder, frames, kept)
    found += norm(frames, width)
    readers = int(model.ctc) + 2 * model.decoder.num_layers * bool(batch.tokens)
    found += kept.inputs(frames * width, readers) if readers else 0
    if model.ctc:
        # The softmax, and CTC's table of each frame and each state: labels and blanks between.
        found += frames * SINGLE * (rows + 2 * batch.targets + 1)
    if batch.tokens:
        found += decoder_bytes(model, batch, kept)
    return found


def held_bytes(config: TrainConfig, batch: MicroBatch) -> int:
    """Outputs that the step holds until the backward pass is over, though nothing needs them: the
    logits, and the decoder's grown cache of keys and values."""
    model, product = config.model, Kept.of(config).product
    rows, width = model.vocabulary.size, model.encoder.d_model
    held = batch.all_frames * rows * product * model.ctc
    held += batch.all_tokens * rows * product
    return held + 2 * model.decoder.num_layers * batch.all_tokens * width * product


def loss_bytes(model: ModelConfig, batch: MicroBatch) -> int:
    """Where the backward pass begins, everything being kept: the gradients of a softmax and of its
    logits, both in float32; of the larger of CTC's and the decoder's, which come in turn."""
    places = max(batch.all_frames * model.ctc, batch.all_tokens)
    return 2 * places * model.vocabulary.size * SINGLE


def mask(dropout: float, numbers: int) -> int:
    """Numbers that dropout keeps of as many."""
    return numbers if round(dropout * LEVELS) else 0


def norm(frames: int, width: int) -> int:
    """A LayerNorm."""
    return frames * (width + 2) * SINGLE


def subsampling_bytes(model: ModelConfig, batch: MicroBatch, kept: Kept) -> int:
    """Inputs of its convolutions and GELUs, or of its Linear."""
    encoder, mels = model.encoder, model.features.num_mels
    whole, width = batch.utterances * batch.feature_frames, encoder.d_model
    hidden = batch.utterances * (batch.frames - model.bandwidth_token)
    half = batch.utterances * -(-batch.feature_frames // 2)
    match encoder.subsampling:
        case "stack4":
            return kept.inputs(hidden * 4 * mels)
        case "conv2" | "conv4":
            first = whole if encoder.subsampling == "conv2" else half
            # Its input; GELU's, and what came of it, the next one's input; GELU's.
            return kept.inputs(whole * mels) + (2 * first + hidden) * width * kept.product
        case "conv2d4":
            channels, bands = encoder.subsampling_channels, -(-mels // 2)
            first, second = half * bands * channels, hidden * -(-mels // 4) * channels
            return kept.inputs(whole * mels) + (2 * first + 2 * second) * kept.product


def encoder_attention(encoder: EncoderConfig, batch: MicroBatch, kept: Kept) -> int:
    """A layer's, and a Conformer's convolution and last LayerNorm beside it."""
    frames, width = batch.all_frames, encoder.d_model
    found = norm(frames, width) + kept.inputs(frames * width, 3)
    found += attention((frames, frames), batch.frames, width, encoder.num_heads, kept)
    if encoder.positions == "rotary":
        # Turned queries lie head by head, the output with them, and the Linear behind copies it.
        found += frames * width * kept.product
    limited = encoder.left_context is not None or encoder.right_context is not None
    found += frames * (batch.frames if limited else 1) * kept.product  # its mask, as numbers
    found += mask(encoder.dropout, frames * width) * kept.product
    if encoder.block == "conformer":
        found += convolution(encoder, frames, kept) + norm(frames, width)
    return found


def attention(sides: tuple[int, int], seen: int, width: int, heads: int, kept: Kept) -> int:
    """Queries and output, keys and values, sums; the Linear behind keeps the output itself.
    `sides` are all queries and all slots, each query sees `seen` slots."""
    queries, slots = sides
    sides_bytes = 2 * (queries + slots) * width * kept.product
    if not kept.whole_heads or width // heads * kept.product % ALIGNED == 0:
        return sides_bytes + queries * heads * SINGLE
    wider = (queries + 2 * slots) * width * (SINGLE - kept.product)
    return sides_bytes + wider + queries * seen * heads * SINGLE


def convolution(encoder: EncoderConfig, frames: int, kept: Kept) -> int:
    """LayerNorm, Linear to 2 d, GLU, depthwise convolution, LayerNorm, SiLU, Linear, dropout."""
    numbers = frames * encoder.d_model
    found = 2 * norm(frames, encoder.d_model) + kept.inputs(numbers)
    # GLU's input, the convolution's; SiLU's, in the precision of a LayerNorm.
    found += (2 + 1) * numbers * kept.product + numbers * SINGLE
    return found + kept.inputs(numbers) + mask(encoder.dropout, numbers) * kept.product


def feed_forwards(
    model: ModelConfig, part: EncoderConfig | DecoderConfig, frames: int, kept: Kept
) -> int:
    """All of a stack, each with the LayerNorm before it and the dropout behind it."""
    width, numbers = model.encoder.d_model, frames * model.encoder.d_model
    each = norm(frames, width) + kept.inputs(numbers) + mask(part.dropout, numbers) * SINGLE
    each += inner_copies(part) * frames * part.d_feedforward * kept.product
    found = part.num_layers * each
    for layer in range(part.num_layers):
        experts = model.experts_of(part.routing, layer)
        found += routing_bytes(part.routing, layer, experts, (frames, width), kept)
    return found * feed_forwards_of(part)


def inner_copies(part: EncoderConfig | DecoderConfig) -> int:
    """Of an expert's inner numbers: what the activation keeps, what dropout does, and what the
    second Linear reads, which is a ReLU's own output where nothing is dropped."""
    if mask(part.dropout, 1):
        return 3
    return 1 if part.activation == "relu" else 2


def routing_bytes(
    routing: RoutingConfig, layer: int, experts: int, shape: tuple[int, int], kept: Kept
) -> int:
    """What a routed feed-forward keeps beside its experts: which frames went where, and of a
    learned router its input, probabilities and choice, and what the gate multiplied."""
    if not routing.routes(layer):
        return 0
    frames, width = shape
    # `index_add`, which puts rows back, keeps them for their shape, and the indices.
    found = frames * (width * SINGLE + INDEX) if experts > 1 else 0
    if routing.learned:
        found += frames * (width * SINGLE + experts * SINGLE + INDEX)
        found += frames * (width * kept.product + SINGLE)
    return found


def decoder_bytes(model: ModelConfig, batch: MicroBatch, kept: Kept) -> int:
    """The decoder, its softmax included; its cross-attention's Linears over the encoder's frames
    are counted with those."""
    decoder, width = model.decoder, model.encoder.d_model
    tokens, numbers = batch.all_tokens, batch.all_tokens * width
    dropped = mask(decoder.dropout, numbers)
    layer = 2 * norm(tokens, width) + kept.inputs(numbers, 3) + kept.inputs(numbers)
    heads = decoder.num_heads
    # Without the bandwidth token, which is dropped behind the encoder.
    seen = batch.frames - model.bandwidth_token
    heard = batch.utterances * seen
    layer += attention((tokens, tokens), batch.tokens, width, heads, kept)
    layer += attention((tokens, heard), seen, width, heads, kept)
    layer += numbers * kept.product if decoder.positions == "rotary" else 0  # as the encoder's
    layer += (tokens * batch.tokens + heard) * kept.product + 2 * dropped * kept.product
    found = decoder.num_layers * layer + feed_forwards(model, decoder, tokens, kept)
    found += dropped * SINGLE + norm(tokens, width) + kept.inputs(numbers)
    return found + tokens * model.vocabulary.size * SINGLE
