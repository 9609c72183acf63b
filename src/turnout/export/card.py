"""The model card: README.md with the head that the Hugging Face hub reads."""

import json
from collections.abc import Mapping
from typing import Any

from turnout.config import ModelConfig
from turnout.config.routing import routing_words


def render_card(config: ModelConfig, facts: Mapping[str, Any]) -> str:
    """A card for a model that was just trained: its shape, and `facts` of its run as they are."""
    vocabulary = config.vocabulary
    pairs = [f"{source} to {target}" for source, target in vocabulary.translations]
    lines = [
        *head(config, facts),
        "",
        "# A speech model of turnout",
        "",
        f"- Spoken languages: {', '.join(vocabulary.languages)}",
        f"- Translates: {', '.join(pairs) or 'nothing'}",
        f"- Encoder: {config.encoder.num_layers} {config.encoder.block} layers of width "
        f"{config.encoder.d_model}, {routing_words(config.encoder.routing)}",
    ]
    if config.decoder.num_layers:
        lines.append(
            f"- Decoder: {config.decoder.num_layers} layers, "
            f"{routing_words(config.decoder.routing)}"
        )
    lines += ["", "Use it: `turnout transcribe --model FOLDER recording.wav`.", ""]
    if facts:
        lines += ["## Training", ""]
        for key, value in facts.items():
            lines += section(key, value)
    return "\n".join(lines) + "\n"


def head(config: ModelConfig, facts: Mapping[str, Any]) -> list[str]:
    """The YAML head."""
    languages = ", ".join(config.vocabulary.all_languages)
    metric = "cer" if "dev_average_cer" in facts else "wer"
    average = facts.get(f"dev_average_{metric}")
    lines = [
        "---",
        f"license: {facts.get('license', 'other')}",
        f"language: [{languages}]",
        "library_name: turnout",
        "pipeline_tag: automatic-speech-recognition",
        f"metrics: [{metric}]",
    ]
    if average is not None:
        lines += [
            "model-index:",
            "- name: turnout",
            "  results:",
            "  - task: {type: automatic-speech-recognition}",
            "    dataset: {name: dev, type: dev}",
            f"    metrics: [{{type: {metric}, value: {average:.2f}}}]",
        ]
    return [*lines, "---"]


def section(key: str, value: Any) -> list[str]:
    """A fact as a line, or as a block of JSON where it is long."""
    title = key.replace("_", " ")
    if isinstance(value, Mapping | list | tuple):
        block = json.dumps(value, indent=2, ensure_ascii=False, default=str)
        return ["", f"### {title}", "", "```json", block, "```", ""]
    return [f"- {title}: {value}"]
