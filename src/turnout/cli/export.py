"""`turnout export`."""

from turnout.cli.terminal import note, say


def export(*, model: str, half: bool = False, adapter: tuple[str, ...] = ()) -> int:
    """Write a model folder's ONNX graphs and check them against PyTorch, which takes a minute.

    Parameters
    ----------
    model
        Model folder, as training writes it, or the name of one that is fetched. It is changed, so
        there is no default.
    half
        Round the weights to float16 first, in the folder too: half the size.
    adapter
        Folder or name of an adapter of that model, whose experts are checked as well; may be given
        again.
    """
    from turnout.export.save import export_folder

    say(str(export_folder(model, half=half, adapters=adapter, say=note)))
    return 0
