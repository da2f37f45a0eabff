"""The result of an evaluation, with all settings that its scores depend on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dolg_zoo import __version__
from dolg_zoo._util.text import percent
from dolg_zoo.embedders.fingerprint import name_of_model
from dolg_zoo.preprocessing import PassedOver
from dolg_zoo.retrieval import DescriptorStore
from dolg_zoo.retrieval.search.ranking import Ranking

if TYPE_CHECKING:
    from dolg_zoo.embedders.base import ImageEmbedder


@dataclass(frozen=True)
class Report:
    """A table of scores, and the settings that the scores depend on.

    Attributes:
        task: the name of the evaluation.
        header: the column titles of the table.
        rows: the cells of the table; a float is a score from 0 to 1.
        settings: all settings that the scores depend on, as JSON values.
        notes: sentences to publish with the scores.
        skipped: name to reason, for images that could not be read.
        passed_over: files of the folder that are not images or cannot be read.
    """

    task: str
    header: Sequence[str]
    rows: Sequence[Sequence[str | int | float]]
    settings: Mapping[str, Any]
    notes: Sequence[str] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)
    passed_over: PassedOver = field(default_factory=PassedOver)

    @property
    def scores(self) -> dict[str, dict[str, Any]]:
        """The table as a dict: first cell of a row to {column title: cell}."""
        return {
            str(name): dict(zip(self.header[1:], cells, strict=True)) for name, *cells in self.rows
        }

    @property
    def cells(self) -> list[list[str]]:
        """The table's cells as text, scores in per cent."""
        return [
            [percent(cell) if isinstance(cell, float) else str(cell) for cell in row]
            for row in self.rows
        ]

    @property
    def facts(self) -> list[tuple[str, str]]:
        """The settings as pairs of texts."""
        return [(name.replace("_", " "), _text(value)) for name, value in self.settings.items()]

    def to_markdown(self) -> str:
        """Return a section with the table, the settings and the notes."""
        from dolg_zoo._util.markdown import inline, table

        return "\n\n".join(
            [
                f"## {inline(self.task)}",
                table(self.header, ([inline(cell) for cell in row] for row in self.cells)),
                *map(inline, self.notes),
                table(
                    ("setting", "value"), ([inline(part) for part in fact] for fact in self.facts)
                ),
            ]
        )


def settings_of_model(model: ImageEmbedder, scales: Sequence[float] | None) -> dict[str, Any]:
    """Return the settings that a model's descriptors depend on."""
    converter = model.image_converter.to_config()
    for name in ("scales", "crop_queries"):  # the preset's values, which may not be in use
        del converter[name]
    return {
        "preset": name_of_model(model),
        "model_id": model.model_id,
        "dim": model.descriptor_dim,
        "scales": list(model.image_converter.scales_or_own(scales)),
        "image_converter": converter,
        "dolg_zoo_version": __version__,
    }


def settings_of_store(store: DescriptorStore) -> dict[str, Any]:
    """Return the settings of a store's descriptors."""
    return {
        "preset": store.model_name,
        "model_id": store.model_id,
        "dim": store.dim,
        "scales": list(store.scales),
        "dolg_zoo_version": __version__,
    }


def settings_of_ranking(ranking: Ranking) -> dict[str, Any]:
    """Return the settings of the ranking, without the settings of unused methods."""
    settings: dict[str, Any] = {"expand": ranking.expand, "dba": ranking.dba}
    if ranking.expand or ranking.dba:
        settings["alpha"] = ranking.alpha
    settings["rerank"] = ranking.rerank
    if ranking.rerank:
        settings |= {f"rerank_{name}": getattr(ranking, name) for name in ("k1", "k2", "weight")}
    return settings


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return " ".join(map(_text, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)
