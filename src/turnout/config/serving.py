"""How `turnout serve` serves: where, which models, and how much it lets anybody take."""

from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from turnout.config.bounds import above_zero, at_least, require
from turnout.config.transcription import MAX_DURATION_SECONDS
from turnout.errors import ConfigError

DEFAULT_ALIAS = "whisper-1"
"""What OpenAI's clients ask for: the first model, whatever it is called."""
LARGEST_PORT = 65_535
FEWEST_KEY_CHARACTERS = 8


@dataclass(frozen=True, kw_only=True)
class ServingConfig:
    """A server's settings; every limit has a default that a small machine can hold."""

    host: str = "127.0.0.1"
    """Address to listen at: this machine alone by default. Any other wants a key."""
    port: int = 8000
    """0 takes one that is free, and says which."""
    model: tuple[str, ...] = ()
    """Models that may be asked for: folder, name (whisper-base), hf://owner/name[@revision] or an
    adapter. The first is the default, and loaded at the start; the others on first use. By default
    the model that ships."""
    adapter: tuple[str, ...] = ()
    """Adapters of the first model, each a folder or the name of one that ships."""
    device: str = "auto"
    """'auto', 'cpu' or 'cuda'."""
    threads: int | None = None
    """CPU threads of each model; by default as many as there are cores."""
    model_memory_gb: float = 8.0
    """Most memory of loaded models, in GB: the one that was idle longest leaves for another."""
    batch_size: int = 8
    """Most segments of audio decoded at once, of all requests together."""
    batching: bool = True
    """Decode segments of several requests at once; without, one at a time."""
    max_concurrent: int = 16
    """Requests that are read and decoded at once; long ones give their places to as many others
    after a while."""
    max_queue: int = 64
    """Requests that wait for that; one more is told to come later (429)."""
    max_live: int = 16
    """Live streams heard at once; more are told to come later."""
    max_upload_bytes: int = 200_000_000
    """Largest upload; a longer one is cut off while it comes in."""
    max_duration: float = MAX_DURATION_SECONDS
    """Longest recording, in seconds of decoded audio."""
    request_seconds: float = 3600.0
    """Longest time that a request may take, its waiting included."""
    header_seconds: float = 10.0
    """Longest time for a request's header to come in."""
    body_stall_seconds: float = 30.0
    """Longest time in which a client neither sends nor takes anything."""
    reading_memory_mb: int = 512
    """Most memory that decoding an upload may take, in a process of its own."""
    reading_cpu_seconds: int = 120
    """Most CPU time that decoding an upload may take."""
    reading_stall_seconds: float = 20.0
    """Longest time in which decoding an upload gives no sound."""
    grace_seconds: float = 30.0
    """How long accepted requests may go on when the server is asked to stop."""
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    """Keys of which a client must send one; from the environment or a file, never from the command
    line, which others can read."""
    allowed_hosts: tuple[str, ...] = ()
    """Names that requests may call this server by, beside the address that it listens at."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may call this server, such as https://example.org; none by default."""
    certificate: Path | None = None
    """File with the TLS certificate (PEM), which a microphone on another machine needs."""
    certificate_key: Path | None = None
    """File with the certificate's private key (PEM)."""
    page: bool = True
    """Show the page at /."""

    def __post_init__(self) -> None:
        at_least(0, self, "", "port", "max_queue", "grace_seconds")
        require(
            self.port <= LARGEST_PORT, f"port is {self.port}: it must be at most {LARGEST_PORT}"
        )
        at_least(1, self, "", "threads", "batch_size", "max_concurrent", "max_live")
        at_least(1, self, "", "max_upload_bytes", "reading_cpu_seconds")
        at_least(64, self, "", "reading_memory_mb")
        above_zero(self, "", "model_memory_gb", "max_duration", "request_seconds")
        above_zero(self, "", "header_seconds", "body_stall_seconds", "reading_stall_seconds")
        self._check_keys()
        require(
            (self.certificate is None) == (self.certificate_key is None),
            "certificate and certificate_key belong together: give both, or neither",
        )
        require(
            "*" not in self.cors_origins or not self.api_keys,
            "cors_origins is '*', which lets every page send the key that it was given: name the "
            "origins",
        )

    def _check_keys(self) -> None:
        for key in self.api_keys:
            # The key itself is told to nobody.
            require(
                len(key) >= FEWEST_KEY_CHARACTERS and key.isascii() and key.isprintable(),
                f"an API key must have at least {FEWEST_KEY_CHARACTERS} printable ASCII characters",
            )
            require(" " not in key, "an API key must not hold spaces")
        if not self.api_keys and not is_loopback(self.host):
            raise ConfigError(
                f"host is {self.host}, which others can reach, and there is no API key: set "
                "TURNOUT_API_KEY, or listen at 127.0.0.1"
            )

    @property
    def batch_limit(self) -> int:
        """Most segments that are decoded at once."""
        return self.batch_size if self.batching else 1


def is_loopback(host: str) -> bool:
    """Whether this machine alone can reach it."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:  # a name, of which nobody knows whom it will stand for
        return False
