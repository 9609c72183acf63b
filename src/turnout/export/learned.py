"""What needs PyTorch where a model's routing changes: graphs of other shapes than Whisper's, and
learned routers, which begin at random."""

from dataclasses import replace

from torch.random import fork_rng, manual_seed

from turnout.backends.torch import stored_tensors
from turnout.config import ModelConfig
from turnout.config.cutting import stacks_of
from turnout.errors import UsageError
from turnout.export.save import weights_bytes
from turnout.hub.rerouted import Writing, files_beside, stored
from turnout.model.build import build_model
from turnout.model.convert import fit_state
from turnout.model.speech_model import SpeechModel
from turnout.model_folder import WEIGHTS, ModelFolder, write_folder


def traced_graphs(config: ModelConfig) -> dict[str, bytes]:
    """The ONNX files of a configuration, for whatever weights of its shape; raises ExportError."""
    from turnout.export.tracing import graphs_of  # noqa: PLC0415 - slow to import

    return graphs_of(built(config, 0))


def built(config: ModelConfig, seed: int) -> SpeechModel:
    """A model with weights of this seed, in evaluation mode."""
    with fork_rng(devices=[]):
        manual_seed(seed)
        return build_model(config).eval()


def upcycle_learned(
    folder: ModelFolder, config: ModelConfig, writing: Writing, seed: int = 0
) -> None:
    """Write the model with the experts of `config`, each a copy of what the folder's dense stack
    has, and routers of this seed: float16 where all of the folder's tensors are.

    Raises UsageError where that would not compute what the folder's model does, ExportError,
    ModelFolderError and StorageError.
    """
    for name, routing in stacks_of(config).items():
        if routing.learned and routing.gate == "probability":
            raise UsageError(
                f"{name}.routing.gate is 'probability', which multiplies what an expert says by "
                "how probable it is, at first hardly more than one in "
                f"{routing.num_experts}: equal experts would compute something else than the dense "
                f"model; take --{name}.routing.gate straight_through"
            )
    half = all(tensor.kind == "F16" for tensor in stored(folder).values())
    files = files_beside(folder, config, replace(writing, graphs=traced_graphs))
    model = built(config, seed)
    fitted = fit_state(
        model, {name: tensor.float() for name, tensor in stored_tensors(folder).items()}
    )
    strange = [name for name in fitted.missing if ".routers." not in name]
    assert not (strange or fitted.mismatched or fitted.unexpected), (strange, fitted)
    write_folder(writing.output, {**files, WEIGHTS: weights_bytes(model, half=half)}, writing.check)
