"""What benchmarks/serve.py and live.py found, as the tables of docs/serving.md.

    python benchmarks/serve_rows.py

Tables stand where something was measured, each with the command that made it; the document's own
words stay around them.
"""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
DOCUMENT = ROOT / "docs" / "serving.md"
MARKS = re.compile(
    r"(<!-- python benchmarks/serve_rows.py: begin -->\n).*?(<!-- .*serve_rows.py: end -->)",
    re.DOTALL,
)
MODELS = {"commands": "shipped", "base-ct2": "whisper-base"}
Found = dict[str, Any]


def table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    """Of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def made(part: Found) -> str:
    """The command, and the commit that it ran at."""
    return f"`{part['command']}`, commit {part['commit'][:8]}"


def seconds(value: float | None) -> str:
    """A time, to what two runs have in common."""
    return "-" if value is None else f"{value:.2f}"


def system(row: Found) -> str:
    """As the tables call it."""
    if row["system"] != "turnout":
        return str(row["system"])
    return "turnout" if row["batching"] else "turnout, no batching"


def load_rows(rows: Sequence[Found]) -> Iterator[list[str]]:
    """A line for each system and number of clients."""
    for row in rows:
        yield [
            system(row),
            str(row["clients"]),
            f"{row['requests_per_second']:.1f}",
            f"{row['audio_seconds_per_second']:.0f}",
            f"{seconds(row['p50_seconds'])}, {seconds(row['p95_seconds'])}",
            f"{row['wrong_answers']} of {row['requests']}",
        ]


def loads(name: str, part: Found, other: str) -> str:
    """A model's table."""
    head = ["", "clients", "requests a second", "seconds of sound a second", "p50, p95 in s", other]
    return f"{name} ({made(part)}):\n\n{table(head, load_rows(part['found']))}"


def fairness(part: Found) -> list[str]:
    """Short clients beside a long one."""
    found = part["found"]
    alone, beside = found["alone"]["p95_seconds"], found["beside"]["p95_seconds"]
    return [
        f"20 clients of 5 s beside a file of {found['long_minutes']:g} minutes",
        f"p95 {seconds(beside)} s, without it {seconds(alone)} s: {found['p95_ratio']:.2f} times; "
        f"Jain {found['jain_of_requests']:.3f}; the long file was done in "
        f"{found['long_seconds_taken']:.0f} s; {found['wrong_answers']} wrong",
        made(part),
    ]


def overload(part: Found) -> list[str]:
    """Four times as many clients as there are places."""
    found = part["found"]
    four = found["four_times"]
    return [
        f"{four['clients']} clients, {found['once']['clients']} places",
        f"{four['requests']} accepted, {four['wrong_answers']} wrong, at "
        f"{found['share_of_the_best']:.1%} of the pace without overload; {four['refused']} told to "
        f"come later, within {seconds(four['refused_p95_seconds'])} s (p95); `/health` within "
        f"{seconds(four['health_p99_seconds'])} s (p99)",
        made(part),
    ]


def soak(part: Found) -> list[str]:
    """Thousands of requests, good and bad."""
    found = part["found"]
    sound, leaking = found["sound"], found["leaking"]
    left = sound["left_by_a_request"]
    files = [sound[when]["files"] for when in ("in_the_middle", "at_last")]
    told = f"{left['malloc_bytes']['a_request']:.0f} bytes" if "malloc_bytes" in left else "memory"
    grown = leaking["left_by_a_request"].get("malloc_bytes", {}).get("a_request")
    planted = "" if grown is None else f" ({grown:.0f} bytes)"
    return [
        f"{sound['requests']:,} requests in {sound['minutes']:.0f} minutes, a tenth bad, a "
        "twentieth leaving",
        f"{sound['wrong']} wrong; of each request {told} stay, and it "
        f"{'grows' if sound['grows'] else 'does not grow'}; {files[0]} and {files[1]} open files; "
        f"a planted kilobyte a request is {'' if found['planted_leak_is_seen'] else 'not '}seen"
        f"{planted}",
        made(part),
    ]


def live_rows(rows: Sequence[Found]) -> Iterator[list[str]]:
    """A line for each model, speech, format and number of clients."""
    for row in rows:
        delay, first = row["delay_seconds"], row["first_text_seconds"]
        yield [
            MODELS.get(row["model"], row["model"]),
            row["speech"],
            row["format"],
            str(row["clients"]),
            f"{delay['median']:.2f}, {delay['p95']:.2f}",
            "-" if first is None else f"{first['median']:.2f}",
            row["recordings_as_transcribed"],
            row["made_by"]["commit"][:8],
        ]


def rendered(results: Path) -> str:
    """All tables of what there is."""
    own, whisper, live = (
        json.loads(path.read_text("utf-8")) if path.exists() else {}
        for path in (results / f"{name}.json" for name in ("serve", "serve_whisper", "live"))
    )
    parts = []
    if "load" in own:
        parts.append(loads("The shipped model", own["load"], "wrong answers"))
    if "load" in whisper:
        parts.append(
            loads("whisper-base, float32, greedy", whisper["load"], "other texts than ours alone")
        )
    lines = [
        line(own[name])
        for name, line in (("fairness", fairness), ("overload", overload), ("soak", soak))
        if name in own
    ]
    if lines:
        parts.append(table(["the shipped model", "found", "by"], iter(lines)))
    if live:
        head = ["live", "speech", "format", "clients", "end of speech to final text, median and "
                "p95 in s", "to the first text", "as the file's text", "commit"]  # fmt: skip
        parts.append(table(head, live_rows(live["rows"])))
    return "\n\n".join(parts)


def main() -> None:
    text = DOCUMENT.read_text("utf-8")
    tables = rendered(RESULTS)
    found, count = MARKS.subn(lambda match: f"{match[1]}{tables}\n{match[2]}", text)
    if count != 1:
        raise SystemExit(f"{DOCUMENT} has {count} places for the tables: one is wanted")
    DOCUMENT.write_text(found, "utf-8")


if __name__ == "__main__":
    main()
