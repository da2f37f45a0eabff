"""From a trained model to a preset on the Hugging Face Hub."""

from dolg_zoo.errors import PublishError
from dolg_zoo.publishing.architecture import Architecture, Tap, architecture_of
from dolg_zoo.publishing.architecture_figure import architecture_figure
from dolg_zoo.publishing.model_card import model_card
from dolg_zoo.publishing.push import Published, push_to_hub

__all__ = [
    "Architecture",
    "PublishError",
    "Published",
    "Tap",
    "architecture_figure",
    "architecture_of",
    "model_card",
    "push_to_hub",
]
