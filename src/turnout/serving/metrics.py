"""What a server counts, for Prometheus. Labels hold names that the operator chose, never a
client's, so that there are as many series after a million requests as after one."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from turnout.audio.features import FRAME_SECONDS
from turnout.config import ModelConfig, RoutingConfig
from turnout.decoding.requests import Decoded, Utterance, row_guidance

REQUEST_SECONDS = (0.1, 0.3, 1, 3, 10, 60, 600)
DELAY_SECONDS = (0.3, 0.6, 1, 2, 5, 15, 60)
BATCH_SECONDS = (0.03, 0.1, 0.3, 1, 3, 10)
BATCH_SIZES = (1, 2, 4, 8, 16)


class Metrics:
    """A server's counts, in a registry of their own; thread-safe."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()

        def counter(name: str, help_: str, *labels: str) -> Counter:
            return Counter(f"turnout_{name}", help_, labels, registry=registry)

        def gauge(name: str, help_: str, *labels: str) -> Gauge:
            return Gauge(f"turnout_{name}", help_, labels, registry=registry)

        def histogram(name: str, help_: str, buckets: Sequence[float], *labels: str) -> Histogram:
            return Histogram(f"turnout_{name}", help_, labels, registry=registry, buckets=buckets)

        self.requests = counter("requests", "Answers, by route and status", "route", "status")
        self.request_seconds = histogram(
            "request_seconds", "From a request to its answer's end", REQUEST_SECONDS, "route"
        )
        self.running = gauge("requests_running", "Requests that are read and decoded")
        self.queued = gauge("requests_queued", "Requests that wait for a place")
        self.refused = counter("requests_refused", "Requests for which there was no place")
        self.segments_waiting = gauge(
            "segments_waiting", "Segments that wait to be decoded", "model"
        )
        self.batch_size = histogram("batch_size", "Segments of a batch", BATCH_SIZES, "model")
        self.batch_seconds = histogram(
            "batch_seconds", "Time that a batch took", BATCH_SECONDS, "model"
        )
        self.audio_seconds = counter(
            "audio_seconds", "Sound that was decoded: segments of speech", "model"
        )
        self.expert_frames = counter(
            "expert_frames",
            "Encoder frames that an expert took, all routed feed-forwards together",
            "model",
            "expert",
        )
        self.decoder_tokens = counter(
            "decoder_tokens", "Tokens that a decoder's expert wrote", "model", "expert"
        )
        self.failures = counter("engine_failures", "Segments that made a model fail", "model")
        self.live_streams = gauge("live_streams", "Live streams that are heard")
        self.live_closed = counter("live_closed", "Live streams that ended, by code", "code")
        self.live_seconds = counter("live_seconds", "Sound of live streams that ended")
        self.live_delay = histogram(
            "live_delay_seconds", "From a turn's end, once known, to its final text", DELAY_SECONDS
        )
        self.model_bytes = gauge(
            "model_bytes", "Memory of a model, 0 where it is not loaded", "model"
        )

    def answered(self, route: str, status: int, seconds: float) -> None:
        """A request came to its end; `route` is the server's own name for it."""
        self.requests.labels(route, str(status)).inc()
        self.request_seconds.labels(route).observe(seconds)

    def decoded(
        self, model: str, config: ModelConfig, batch: Sequence[tuple[Utterance, Decoded]]
    ) -> None:
        """A batch of a model was decoded."""
        self.batch_size.labels(model).observe(len(batch))
        self.audio_seconds.labels(model).inc(
            sum(utterance.frames for utterance, _ in batch) * FRAME_SECONDS
        )
        for utterance, answer in batch:
            if answer.expert_index is not None:
                self._count_frames(model, config, answer.expert_index)
            self._count_tokens(model, config, utterance, answer)

    def _count_frames(self, model: str, config: ModelConfig, taken: NDArray[np.int64]) -> None:
        counts = np.bincount(taken.ravel())
        names = expert_names(config, config.encoder.routing)
        for expert in np.flatnonzero(counts).tolist():
            self.expert_frames.labels(model, names[expert]).inc(int(counts[expert]))

    def _count_tokens(
        self, model: str, config: ModelConfig, utterance: Utterance, answer: Decoded
    ) -> None:
        """A learned router of a decoder tells nobody which expert it took."""
        routing = config.decoder.routing
        if not routing.guided or routing.learned:
            return
        experts = config.expert_map(routing)
        for found in answer.hypotheses:
            guidance = row_guidance(utterance.request, found.task, answer.language, config)
            name = experts.name(experts.index(guidance))
            self.decoder_tokens.labels(model, name).inc(len(found.tokens))

    def render(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self.registry)


def expert_names(config: ModelConfig, routing: RoutingConfig) -> tuple[str, ...]:
    """Of a stack's experts, by number: words of the guidance, numbers of a learned router, or
    both."""
    experts = config.expert_map(routing)
    groups = [experts.name(group) for group in range(experts.num_groups)]
    if not routing.learned:
        return tuple(groups)
    prefixes = [f"{name} " if routing.guided else "" for name in groups]
    return tuple(f"{prefix}{one}" for prefix in prefixes for one in range(routing.num_experts))
