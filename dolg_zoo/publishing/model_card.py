"""The page of a preset on the Hub: description, usage, scores and limits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, cast

from dolg_zoo._util.markdown import code, inline, prose, table
from dolg_zoo.preprocessing import ImageConverter
from dolg_zoo.presets.description import head_in_words, preprocessing_in_words
from dolg_zoo.publishing.architecture import Architecture, Tap
from dolg_zoo.publishing.metadata import license_id
from dolg_zoo.weights import parse_hub_url
from dolg_zoo.weights.manifest import FileHash

MAX_ROWS = 200  # keys of a report that the page shows; report.json has all
FIGURE = "architecture.png"
TASK = "image-feature-extraction"
LIBRARY = "dolg-zoo"
TAGS = ["dolg", "image-retrieval", "landmark-retrieval", "visual-search", "keras", "tensorflow"]

# those of the Hub's list (its documentation, "Licenses") that SPDX names alike but for the case
HUB_LICENSES = """
    afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0
    cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0
    cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0
    cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0 cdla-permissive-2.0 cdla-sharing-1.0 ecl-2.0 epl-1.0
    epl-2.0 etalab-2.0 eupl-1.1 gpl-2.0 gpl-3.0 isc lgpl-2.1 lgpl-3.0 lppl-1.3c mit mpl-2.0 ms-pl
    ncsa ofl-1.1 osl-3.0 postgresql unlicense wtfpl zlib
"""

CITATION = """```bibtex
@inproceedings{yang2021dolg,
  title     = {DOLG: Single-Stage Image Retrieval with Deep Orthogonal Fusion of Local and Global Features},
  author    = {Yang, Min and He, Dongliang and Fan, Miao and Shi, Baorong and Xue, Xuetong and Li, Fu and Ding, Errui and Huang, Jizhou},
  booktitle = {ICCV},
  year      = {2021}
}
```

The paper: [arXiv 2108.02927](https://arxiv.org/abs/2108.02927)."""  # noqa: E501


def model_card(
    preset: str,
    metadata: Mapping[str, Any],
    architecture: Architecture,
    converter: ImageConverter,
    files: Mapping[str, FileHash],
    *,
    margin_head: Mapping[str, Any] | None = None,
    report: Mapping[str, Any] | None = None,
) -> str:
    """Write the page, README.md of the repository.

    Texts of `metadata` are shown letter by letter: none can change the page around it.

    Args:
        preset: the argument of `DOLG.from_preset`: `hf://user/repo`, or the name of a preset.
        metadata: as in metadata.json; description, dataset, license and provenance are stated.
        architecture: the parts of the network.
        converter: the image converter.
        files: size and sha256 of each file beside the page.
        margin_head: the description in config.json of the margin head, if it is saved.
        report: the report of the conversion tool, if the weights were converted by one.

    Returns:
        Markdown, with a YAML header. Equal arguments give equal pages.
    """
    sections = {
        "How to use": _use(preset, architecture.config.output_dim),
        "Architecture": _architecture(architecture, files),
        "Preprocessing": _preprocessing(architecture, converter),
        "Training data and provenance": _provenance(metadata, margin_head, report),
        "Evaluation": _evaluation(metadata),
        "Intended use": _intended_use(metadata),
        "Limits": _limits(metadata),
        "Licence": _license(metadata),
        "Files": _files(files),
        "Citation": CITATION,
    }
    name = metadata.get("name") or preset.removeprefix("hf://")
    page = [f"# {inline(name)}", prose(metadata["description"])]
    page += [f"## {title}\n\n{text}" for title, text in sections.items()]
    return f"---\n{_header(name, metadata)}\n---\n\n" + "\n\n".join(page) + "\n"


def _header(name: str, metadata: Mapping[str, Any]) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    figures = metadata.get("figures") or []
    ids = _ids([figure["dataset"] for figure in figures])
    results = [
        EvalResult(
            task_type=TASK,
            task_name="Image retrieval",
            dataset_type=ids[figure["dataset"]],
            dataset_name=_line(figure["dataset"]),
            metric_type=_id(figure["metric"]),
            metric_name=f"{_line(figure['metric'])} ({_line(figure['source'])})",
            metric_value=figure["value"],
        )
        for figure in figures
    ]
    header = ModelCardData(
        **cast("dict[str, Any]", _hub_license(license_id(metadata["license"]))),
        library_name=LIBRARY,
        pipeline_tag=TASK,
        tags=TAGS,
        datasets=_hub_dataset(metadata["dataset"]),
        metrics=sorted({result.metric_type for result in results}) or None,
        base_model=_hub_repo(metadata.get("derived_from", "")),
        model_name=_line(name),
        eval_results=results or None,
    )
    if not results:
        header.pop("model_name")
    return header.to_yaml()


def _hub_license(expression: str) -> dict[str, str]:
    """Return the header's `license`, and perhaps `license_name`, for an SPDX expression."""
    name = expression.lower()
    known = re.sub(r"-(only|or-later)$", "", name)  # as SPDX ends the GNU licences
    if known in HUB_LICENSES.split():
        return {"license": known}
    return {"license": "other", "license_name": re.sub(r"[^a-z0-9.]+", "-", name).strip("-")}


def _line(text: str) -> str:
    return " ".join(text.split())


def _id(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "unnamed"


def _ids(texts: Sequence[str]) -> dict[str, str]:
    """Return an identifier for each text; the header joins the figures of one identifier."""
    ids: dict[str, str] = {}
    for text in dict.fromkeys(texts):
        names = (_id(text), *(f"{_id(text)}-{number}" for number in range(2, len(texts) + 2)))
        ids[text] = next(name for name in names if name not in ids.values())
    return ids


def _hub_dataset(dataset: str) -> list[str] | None:
    """Return the training data, if it can be the name of a data set of the Hub."""
    return [dataset] if re.fullmatch(r"([\w-][\w.-]*/)?[\w-][\w.-]*", dataset, re.ASCII) else None


def _hub_repo(origin: str) -> str | None:
    with suppress(ValueError):
        return parse_hub_url(origin)[0]
    return None


def _use(preset: str, dim: int) -> str:
    pinned = ""
    if preset.startswith("hf://"):
        pinned = (
            "\n\nThe newest commit is taken, and its files are compared with the hashes that the"
            " Hub states. For results that stay as they are, name a commit, which its page lists"
            f' under "Files": `dolg_zoo.DOLG.from_preset("{preset}@<commit>")`.'
        )
    return f"""```python
import dolg_zoo

model = dolg_zoo.DOLG.from_preset("{preset}")
descriptors = model.embed("photos/")  # (photos, {dim}) float32, each of norm 1

index = dolg_zoo.retrieval.Index.build(model, "photos/")
for match in index.search("query.jpg", k=10):
    print(f"{{match.score:.3f}}  {{match.name}}")
```{pinned}"""


def _architecture(architecture: Architecture, files: Mapping[str, FileHash]) -> str:
    rows = [
        ("Backbone", inline(architecture.backbone)),
        ("Local map", _tap(architecture.local)),
        ("Global map", _tap(architecture.global_)),
        *head_in_words(architecture.config),
        ("Parameters", f"{architecture.parameters:,}"),
        ("Size of the files", f"{sum(file.size for file in files.values()) / 2**20:.1f} MiB"),
    ]
    picture = f"![From the image to the descriptor]({FIGURE})\n\n" if FIGURE in files else ""
    return f"{picture}{table(('', ''), rows)}"


def _tap(tap: Tap) -> str:
    return f"{inline(tap.name)}: stride {tap.stride}, {tap.channels} channels"


def _preprocessing(architecture: Architecture, converter: ImageConverter) -> str:
    config = architecture.config
    rows = [
        *preprocessing_in_words(converter),
        ("Value range", "[0, 255]; uint8 or float"),
        ("Normalisation", _normalisation(config.mean, config.std)),
    ]
    return "`embed` does all of this; nothing is left to you.\n\n" + table(("Step", ""), rows)


def _normalisation(mean: Sequence[float] | None, std: Sequence[float] | None) -> str:
    if mean is None or std is None:
        return "none before the backbone, which takes the values as they are"
    numbers = ", ".join(f"{value:.8g}" for value in mean), ", ".join(f"{v:.8g}" for v in std)
    return f"in the network: (x / 255 − mean) / std, mean ({numbers[0]}), std ({numbers[1]})"


def _provenance(
    metadata: Mapping[str, Any],
    margin_head: Mapping[str, Any] | None,
    report: Mapping[str, Any] | None,
) -> str:
    parts = [f"Trained on: {inline(metadata['dataset'])}", prose(metadata["provenance"])]
    if metadata.get("derived_from"):
        parts.append(f"Derived from: {inline(metadata['derived_from'])}")
    parts += _origin(metadata.get("source"))
    if margin_head is None:
        parts.append("The margin head of its training is not part of it.")
    else:
        parts.append(
            f"The margin head of its training is part of it: {inline(margin_head['layer'])} with"
            f" the centers of {margin_head['num_classes']:,} classes, scale"
            f" {margin_head['scale']:g}, margin {margin_head.get('margin', 0):g}."
            " `model.load_margin_head()` loads it, to train on."
        )
    if report:
        rows = [(inline(key), inline(value)) for key, value in islice(_flat(report), MAX_ROWS)]
        parts.append("From the report of the conversion:\n\n" + table(("What", "Value"), rows))
    return "\n\n".join(parts)


def _origin(source: object) -> Iterator[str]:
    """Yield the lines on the file that the weights were converted from."""
    if isinstance(source, Mapping) and source:
        file = source.get("path", source.get("file", "a file"))
        words = f"Converted from {inline(file)}"
        if "repo" in source:
            words += f" of {inline(source['repo'])} at {inline(source.get('revision', 'main'))}"
        if "sha256" in source:
            words += f", sha256 {inline(source['sha256'])}"
        yield words


def _flat(report: Mapping[str, Any], depth: int = 3) -> Iterator[tuple[str, Any]]:
    for key, value in report.items():
        if isinstance(value, Mapping) and depth:
            yield from ((f"{key}: {below}", item) for below, item in _flat(value, depth - 1))
        elif isinstance(value, (Mapping, list)):
            yield key, "see report.json"
        else:
            yield key, f"{value:.3g}" if isinstance(value, float) else value


def _evaluation(metadata: Mapping[str, Any]) -> str:
    figures = metadata.get("figures")
    if not figures:
        return "None has been measured, or none was stated."
    keys = ("value", "metric", "dataset", "source", "note")
    rows = [[inline(figure.get(key, "")) for key in keys] for figure in figures]
    figures_table = table([key.capitalize() for key in keys], rows)
    return _paragraphs(figures_table, prose(metadata.get("figures_note", "")))


def _intended_use(metadata: Mapping[str, Any]) -> str:
    return prose(metadata.get("intended_use", "")) or (
        "Finding images that show the same place, object or scene as a query. It was not tested"
        " for identifying people."
    )


def _limits(metadata: Mapping[str, Any]) -> str:
    always = (
        "Descriptors compare only with descriptors of this preset that were made with the same"
        " preprocessing and scales. An index of another preset cannot be searched with them."
    )
    return _paragraphs(prose(metadata.get("limits", "")), always)


def _license(metadata: Mapping[str, Any]) -> str:
    license = inline(license_id(metadata["license"]))
    return _paragraphs(license, prose(metadata.get("license_note", "")))


def _paragraphs(*texts: str) -> str:
    return "\n\n".join(filter(None, texts))


def _files(files: Mapping[str, FileHash]) -> str:
    rows = [(code(name), file.size, code(file.sha256)) for name, file in sorted(files.items())]
    return table(("File", "Bytes", "sha256"), rows)
