"""What mkdocs adds to docs/ as it builds: tables of the presets, pictures of their networks, names.

A line `<!-- made by NAME -->` of a page is replaced by what the function of that name in `MAKERS`
returns, so that no figure, and no list of what is public, is typed twice.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import re
import runpy
from pathlib import Path
from types import FunctionType

from mkdocs.structure.files import File

import dolg_zoo
from dolg_zoo._util.markdown import code, inline, table
from dolg_zoo.embedders.constructor_table import SIZE, list_constructors
from dolg_zoo.presets.conversion import IMAGENET
from dolg_zoo.weights import load_manifest

MARK = re.compile(r"^<!-- made by (\w+) -->$", re.MULTILINE)
DOCUMENTED = ("layers", "retrieval", "evaluation", "training", "runtimes")
STATED = ("description", "dataset", "license", "license_note", "provenance", "figures_note")
CONSTRUCTORS = [f"dolg_{name}" for name in dolg_zoo.BACKBONES]
DRAWN = ("dolg_resnet50_gldv2", "dolg_efficientnet_lite_b0_places_products")


def on_files(files, config):
    """Adds the pictures, and a page for each preset."""
    for name in DRAWN:
        files.append(File.generated(config, f"images/{name}.png", content=picture(name)))
    files.append(File.generated(config, "images/imports.svg", content=imports_picture()))
    for name in load_manifest().entries:
        files.append(File.generated(config, f"cards/{name}.md", content=card(name)))
    return files


def on_page_markdown(markdown, **_):
    """Fills in what is made."""
    return MARK.sub(lambda mark: MAKERS[mark[1]](), markdown)


@functools.cache
def picture(preset: str) -> bytes:
    """A PNG of a preset's network, drawn from its configuration; no weights are fetched for it."""
    from dolg_zoo.publishing import architecture_figure

    held = io.BytesIO()
    architecture_figure(architecture(preset)).save(held, "PNG")
    return held.getvalue()


@functools.cache
def imports_picture() -> bytes:
    """An SVG of which packages import which."""
    drawing = runpy.run_path(str(Path(__file__).with_name("draw_imports.py")))
    held = io.BytesIO()
    drawing["draw"]().savefig(held, format="svg")
    return held.getvalue()


@functools.cache
def architecture(preset: str):
    """What a preset's network looks like."""
    from dolg_zoo.models import DOLGConfig, DOLGNet
    from dolg_zoo.publishing.architecture import architecture_of

    entry = load_manifest().entries[preset]
    if entry.source is None:
        return architecture_of(dolg_zoo.DOLG.from_preset(preset).net)
    return architecture_of(
        DOLGNet(config=DOLGConfig.official(backbone=entry.architecture, **IMAGENET))
    )


def card(preset: str) -> str:
    """A preset's model card, by what `dolg publish` writes one with."""
    from dolg_zoo.presets.conversion import OFFICIAL_CONVERTER
    from dolg_zoo.publishing.model_card import model_card
    from dolg_zoo.weights.manifest import FileHash

    entry = load_manifest().entries[preset]
    if entry.source is None:
        model = dolg_zoo.DOLG.from_preset(preset)
        stated = {key: getattr(entry, key) for key in STATED}
        stated["figures"] = [dataclasses.asdict(figure) for figure in entry.figures]
        metadata = {**model.metadata, **stated}
        return model_card(
            preset, metadata, architecture(preset), model.image_converter, entry.files
        )
    file = FileHash(entry.file.size, entry.file.sha256)
    return model_card(
        preset,
        entry.metadata(),
        architecture(preset),
        OFFICIAL_CONVERTER,
        {entry.file.path: file},
    )


def presets_table() -> str:
    """A row for each preset of the manifest."""
    rows = (
        (
            code(entry.name),
            code(entry.architecture),
            inline(entry.dataset),
            entry.descriptor_dim,
            f"{entry.size / 2**20:.0f} MiB, {'downloaded' if entry.source else 'in the package'}",
            inline(entry.license),
        )
        for entry in load_manifest().entries.values()
    )
    return table(("preset", "backbone", "trained on", "descriptor", "size", "licence"), rows)


def presets_figures() -> str:
    """A section for each preset: what it is, its figures by their source, and what to know."""
    return "\n\n".join(map(_section, load_manifest().entries.values()))


def _section(entry) -> str:
    about = [f"### {entry.name}", inline(entry.provenance)]
    if entry.license_note:
        about.append(f"Licence: {inline(entry.license)}. {inline(entry.license_note)}")
    return "\n\n".join([*about, _figures(entry.figures), inline(entry.figures_note)])


def _figures(figures) -> str:
    sources = list(dict.fromkeys(figure.source for figure in figures))
    notes = any(figure.note for figure in figures)
    rows = {}
    for figure in figures:
        row = rows.setdefault((figure.dataset, figure.metric), dict.fromkeys(sources, ""))
        row[figure.source] = f"{figure.value:g}"
        if notes:
            row["note"] = inline(figure.note)
    return table(
        ("measured on", "metric", *map(inline, sources), *(["note"] if notes else [])),
        (
            (inline(dataset), inline(metric), *row.values())
            for (dataset, metric), row in rows.items()
        ),
    )


def reference() -> str:
    """Every public name, for mkdocstrings to take its docstring."""
    sections, listed = [], set()
    for module in (dolg_zoo, *(getattr(dolg_zoo, name) for name in DOCUMENTED)):
        sections.append(f"## {module.__name__}")
        names = [name for name in module.__all__ if name not in CONSTRUCTORS]
        if module is dolg_zoo:
            names = [n for n in names if isinstance(getattr(module, n), type | FunctionType)]
        for path in (_path(module, name) for name in names):
            if path not in listed:
                sections.append(f"::: {path}")
                listed.add(path)
    return "\n\n".join(sections)


def _path(module, name: str) -> str:
    """Where a name is defined: griffe does not see what is imported when it is first used."""
    value = getattr(module, name)
    if isinstance(value, type | FunctionType):
        return f"{value.__module__}.{value.__qualname__}"
    return f"{module.__name__}.{name}"


def constructors() -> str:
    """The functions that make a model over a backbone."""
    return ", ".join(code(name) for name in CONSTRUCTORS)


def constructors_table() -> str:
    """A row for each constructor: its size, its cost, and its weights."""
    rows = (
        (
            code(entry.name),
            " + ".join(map(str, entry.channels)),
            f"{entry.parameters / 1e6:.1f} M",
            f"{entry.bytes / 2**20:.0f} MiB",
            f"{entry.multiply_adds / 1e9:.2f} G",
            inline(entry.imagenet or ""),
            ", ".join(map(code, entry.pretrained)),
        )
        for entry in list_constructors()
    )
    header = (
        "constructor",
        "channels of P4 + P5",
        "parameters",
        "size",
        f"multiply-adds at {SIZE}",
    )
    return table((*header, "ImageNet weights", "presets"), rows)


MAKERS = {
    made.__name__: made
    for made in (presets_table, presets_figures, reference, constructors, constructors_table)
}
