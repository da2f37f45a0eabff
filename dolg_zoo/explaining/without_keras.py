"""Explain scores of an embedded preset without TensorFlow."""

from __future__ import annotations

import threading

import h5py
import numpy as np

from dolg_zoo.explaining.decomposition import Decomposition, Dense, Maps, decompose
from dolg_zoo.explaining.explanation import Explanation, explain
from dolg_zoo.preprocessing import ImageConverter, ImageSource
from dolg_zoo.presets.origins import ResolvedPreset
from dolg_zoo.runtimes.cpu import cores
from dolg_zoo.runtimes.litert_runtime import interpreter_of
from dolg_zoo.runtimes.templates import Template, find_template
from dolg_zoo.weights.manifest import WEIGHTS

FORM = "maps-litert-float32"


class LiteRTExplainer:
    """`DOLG.explain` without Keras: LiteRT computes the maps, NumPy the rest in float64."""

    def __init__(self, template: Template, resolved: ResolvedPreset) -> None:
        weights = resolved.folder / WEIGHTS
        self._name = resolved.name
        self._converter = ImageConverter.from_config(template.record["image_converter"])
        interpreter = interpreter_of(cores(), model_content=template.content(weights))
        self._run = interpreter.get_signature_runner()
        with h5py.File(weights) as file:
            self._layers = [
                Dense(file[kernel][()], file[bias][()])
                for kernel, bias in template.facts["last_layers"]
            ]
        self._one_at_a_time = threading.Lock()

    @classmethod
    def of_embedded(cls, resolved: ResolvedPreset) -> LiteRTExplainer | None:
        """Return the explainer of a preset that ships with dolg-zoo; None for any other."""
        template = find_template(FORM, resolved.name)
        return None if template is None else cls(template, resolved)

    def explain(
        self, image: ImageSource, other: ImageSource | None = None, *, scale: float = 1.0
    ) -> Explanation:
        """See `DOLG.explain`."""
        return explain(self.decompose, self._converter, image, other, self._name, scale)

    def decompose(self, image: np.ndarray) -> Decomposition:
        """Decompose the descriptor of an image (height, width, 3), uint8."""
        with self._one_at_a_time:
            outputs = self._run(images=image[None])
        maps = Maps(**{name: batch[0] for name, batch in outputs.items()})
        return decompose(maps, *self._layers)
