"""SpeechModel -> model folder, ONNX graphs, card."""

from turnout.export.save import export_folder, save_model

__all__ = ["export_folder", "save_model"]
