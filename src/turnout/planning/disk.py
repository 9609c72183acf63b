"""What a run keeps on the disk, in bytes."""

from math import ceil

from turnout.config import TrainConfig
from turnout.config.model import FRAMES_PER_SECOND
from turnout.planning.weights import Weights, count

SINGLE, HALF, INDEX = 4, 2, 8
MOMENTS = 2
GIGABYTE = 10**9
WIDEBAND_CLIP_VARIANTS = 1
"""As it was recorded."""


def variants_of(config: TrainConfig) -> int:
    """Versions of a wideband clip in the feature store: as it is, by telephone, and through the
    channel in wideband. Of narrowband clips there are no more."""
    augment = config.data.augment
    telephone = augment.telephone_variants if augment.narrowband > 0 else 0
    channel = augment.channel.wideband_variants if augment.channel is not None else 0
    return WIDEBAND_CLIP_VARIANTS + telephone + channel


def store_bytes(config: TrainConfig, hours: float, clip_seconds: float) -> int:
    """The feature store of so much speech: for each variant 100 frames a second of `num_mels`
    numbers in float16; for each clip its length, and for each variant a place and a floor.

    At 80 bands and the three variants of the defaults 172.8 GB for 1,000 hours.
    """
    if config.data.train and all(corpus.shards for corpus in config.data.train):
        return 0  # nothing of shards is stored
    clips = ceil(hours * 3600 / clip_seconds)
    row = config.model.features.num_mels * HALF
    frames = round(hours * 3600 * FRAMES_PER_SECOND)
    augment = config.data.augment
    # A row of the index has room for all, made or not.
    most = variants_of(config)
    if augment.narrowband == 0 and augment.channel is not None:
        most += augment.telephone_variants
    return frames * row * variants_of(config) + clips * (most * (row + INDEX) + INDEX)


def weights_bytes(weights: Weights) -> int:
    """What is trained, as it is kept of every validation: safetensors' header, a few KB, aside."""
    return SINGLE * count(weights.moved)


def checkpoint_bytes(weights: Weights) -> int:
    """What is trained, and both of its moments."""
    return (1 + MOMENTS) * weights_bytes(weights)


def run_bytes(config: TrainConfig, weights: Weights) -> int:
    """All that a run keeps at one time: its checkpoints and one being written, the weights of its
    last validations, the best and one being written, what a teacher's encoder heard, and in the end
    the model folder."""
    checkpoints = (config.keep_checkpoints + 1) * checkpoint_bytes(weights)
    validated = (config.average_last + 2) * weights_bytes(weights)
    objective = config.objective
    taught = int(objective.teacher_cache_gb * GIGABYTE) if objective.distils else 0
    return checkpoints + validated + taught + SINGLE * weights.total
