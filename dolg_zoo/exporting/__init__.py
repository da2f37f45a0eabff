"""Export models for other servers: SavedModel, ONNX, OpenVINO, LiteRT."""

from dolg_zoo.errors import ExportError
from dolg_zoo.exporting.export import export_model
from dolg_zoo.exporting.formats import FORMATS, plan_export

__all__ = ["FORMATS", "ExportError", "export_model", "plan_export"]
