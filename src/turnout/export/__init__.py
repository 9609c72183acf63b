"""SpeechModel -> model folder, ONNX graphs, card."""

from turnout.export.folder import export_folder
from turnout.export.save import save_model

__all__ = ["export_folder", "save_model"]
