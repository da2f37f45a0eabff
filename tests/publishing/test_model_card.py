import dataclasses
import re
from html import unescape

import pytest
import yaml
from markdown_it import MarkdownIt

from dolg_zoo.models import DOLGConfig
from dolg_zoo.preprocessing import ImageConverter
from dolg_zoo.publishing import Architecture, Tap, model_card
from dolg_zoo.publishing.metadata import merged_metadata
from dolg_zoo.weights.manifest import FileHash

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
ARCHITECTURE = Architecture(
    DOLGConfig.official(backbone="resnet50", **IMAGENET),
    "resnet50",
    Tap("P4", 16, 1024),
    Tap("P5", 32, 2048),
    27_763_138,
)
METADATA = {
    "name": "bridges",
    "description": "Finds the bridges of Prague.",
    "dataset": "GLDv2-clean",
    "license": "CC-BY-4.0",
    "provenance": "Trained at home.",
}
FILES = {
    "model.weights.h5": FileHash(111_000_000, "a" * 64),
    "architecture.png": FileHash(70_000, "b" * 64),
}
FIGURES = [
    {"value": 81.2, "metric": "mAP %", "dataset": "ROxford medium", "source": "the README"},
    {"value": 80.5, "metric": "mAP %", "dataset": "ROxford medium", "source": "the paper"},
    {"value": 0.5, "metric": "mAP", "dataset": "ROxford: medium", "source": "me", "note": "raw"},
]
HOSTILE = (
    "a | b\n---\n# c\n\n```\n- d\n1. e\n> f\n===\n    g\n[h]: i\n| j | k |\n| --- | --- |\n"
    "<script>x</script> <!-- [l](u) ![i](u) `d` **e** *f* \\| \\ $$ __f__ _g_ &amp; ~~g~~"
)


def card(preset="hf://me/bridges", converter=None, architecture=None, **changes):
    arguments = {key: changes.pop(key) for key in ("margin_head", "report") if key in changes}
    return model_card(
        preset,
        {**METADATA, **changes},
        architecture or ARCHITECTURE,
        converter or ImageConverter(),
        FILES,
        **arguments,
    )


def parts(page):
    """The header, without its dashes, and what follows it."""
    return re.fullmatch(r"---\n(.*?)\n---\n(.*)", page, re.S).groups()


def header(page):
    return yaml.safe_load(parts(page)[0])


def section(page, title):
    return re.search(rf"^## {re.escape(title)}\n\n(.*?)(?=^## |\Z)", page, re.M | re.S)[1]


def test_the_header_field_by_field():
    assert header(card(derived_from="hf://you/base@" + "0" * 40)) == {
        "base_model": "you/base",
        "datasets": ["GLDv2-clean"],
        "library_name": "dolg-zoo",
        "license": "cc-by-4.0",
        "pipeline_tag": "image-feature-extraction",
        "tags": [
            "dolg",
            "image-retrieval",
            "landmark-retrieval",
            "visual-search",
            "keras",
            "tensorflow",
        ],
    }


@pytest.mark.parametrize(
    ("expression", "fields"),
    [
        ("apache-2.0", {"license": "apache-2.0"}),
        ("CC0-1.0", {"license": "cc0-1.0"}),
        ("GPL-3.0-or-later", {"license": "gpl-3.0"}),
        ("BSD-3-Clause", {"license": "bsd-3-clause"}),
        ("MIT AND CC-BY-4.0", {"license": "other", "license_name": "mit-and-cc-by-4.0"}),
        ("(MIT OR ISC)", {"license": "other", "license_name": "mit-or-isc"}),
        ("LicenseRef-My-Terms", {"license": "other", "license_name": "licenseref-my-terms"}),
    ],
)
def test_licences_are_named_as_the_hub_names_them(expression, fields):
    found = header(card(license=expression))
    assert {key: found[key] for key in found if key.startswith("license")} == fields


def test_each_figure_is_in_the_header_under_its_own_data_set():
    found = header(card(figures=FIGURES))
    assert found["metrics"] == ["map"]
    [model] = found["model-index"]
    assert model["name"] == "bridges"
    by_dataset = {result["dataset"]["name"]: result for result in model["results"]}
    assert [m["value"] for m in by_dataset["ROxford medium"]["metrics"]] == [81.2, 80.5]
    assert [m["name"] for m in by_dataset["ROxford medium"]["metrics"]] == [
        "mAP % (the README)",
        "mAP % (the paper)",
    ]
    assert [m["value"] for m in by_dataset["ROxford: medium"]["metrics"]] == [0.5]
    assert len({result["dataset"]["type"] for result in model["results"]}) == 2
    assert all(re.fullmatch("[a-z0-9-]+", result["dataset"]["type"]) for result in model["results"])


def test_without_figures_or_a_data_set_of_the_hub_the_header_names_none():
    page = card(dataset="265 photographs of 5 places")
    assert not {"model-index", "metrics", "datasets"} & header(page).keys()
    assert "None has been measured" in section(page, "Evaluation")


SOURCE = {"repo": "you/weights", "revision": "c" * 40, "path": "r50.pt", "sha256": "d" * 64}
HEAD = {"layer": "CurricularFace", "num_classes": 81313, "dim": 512, "scale": 30, "margin": 0.15}
CONVERTER = ImageConverter(
    size=1024, mode="max_side", antialias=False, scales=(0.7071, 1.0), crop_queries=True
)


@pytest.mark.parametrize(
    ("title", "given", "words"),
    [
        (
            "How to use",
            {},
            [
                'dolg_zoo.DOLG.from_preset("hf://me/bridges")',
                'from_preset("hf://me/bridges@<commit>")',
            ],
        ),
        (
            "Architecture",
            {},
            [
                "![From the image to the descriptor](architecture.png)",
                "| Backbone | resnet50 |",
                "| Local map | P4: stride 16, 1024 channels |",
                "| Global map | P5: stride 32, 2048 channels |",
                "| Dilations | none (no multi-atrous module) |",
                "| GeM | exponent p learned, started from 3 |",
                "| Descriptor | 512 dimensions |",
                "| Parameters | 27,763,138 |",
                "| Size of the files | 105.9 MiB |",
            ],
        ),
        (
            "Preprocessing",
            {"converter": CONVERTER},
            [
                "RGB",
                "more than 1024 pixels",
                "bilinear, without antialias",
                "0.7071, 1;",
                "[0, 255]",
                "mean (0.485, 0.456, 0.406), std (0.229, 0.224, 0.225)",
                "cropped",
            ],
        ),
        (
            "Training data and provenance",
            {
                "dataset": "265 photographs",
                "source": SOURCE,
                "margin_head": HEAD,
                "report": {"largest_difference": 2.2e-6},
            },
            [
                "265 photographs",
                f"Converted from r50.pt of you/weights at {'c' * 40}, sha256 {'d' * 64}",
                "CurricularFace with the centers of 81,313 classes, scale 30, margin 0.15",
                "| largest_difference | 2.2e-06 |",
            ],
        ),
        (
            "Evaluation",
            {"figures": FIGURES, "figures_note": "They overlap."},
            [
                "| 81.2 | mAP % | ROxford medium | the README |  |",
                "| 0.5 | mAP | ROxford: medium | me | raw |",
                "\n\nThey overlap.\n",
            ],
        ),
        ("Limits", {"limits": "No people."}, ["No people.\n\nDescriptors compare only with"]),
        ("Licence", {"license_note": "Stated by nobody."}, ["CC-BY-4.0\n\nStated by nobody.\n\n"]),
    ],
)
def test_each_section_says_what_it_is_for(title, given, words):
    page = section(card(**given), title)
    for word in words:
        assert word in page


def test_a_whitened_descriptor_has_its_final_length_everywhere():
    config = dataclasses.replace(ARCHITECTURE.config, whitened_dim=200)
    page = card(architecture=dataclasses.replace(ARCHITECTURE, config=config))
    assert "| Descriptor | 200 dimensions, whitened from 512 |" in section(page, "Architecture")
    assert "200" in section(page, "How to use") and "512" not in section(page, "How to use")


def test_a_preset_of_the_list_is_used_by_its_name():
    page = section(card(preset="dolg_resnet50_gldv2"), "How to use")
    assert 'from_preset("dolg_resnet50_gldv2")' in page
    assert "@<commit>" not in page


TEXTS = [
    *("name", "description", "dataset", "license_note", "provenance", "limits", "intended_use"),
    *("figures_note", "derived_from"),
]


def structure(page):
    """All that a reader of Markdown makes of a page but its words and its paragraphs."""
    parsed = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    found = []
    for token in parsed.parse(parts(page)[1]):
        found += [token.type, *(child.type for child in token.children or ())]
    words = {"inline", "text", "text_special", "paragraph_open", "paragraph_close"}
    return [kind for kind in found if kind not in words]


@pytest.mark.parametrize("key", TEXTS)
def test_a_hostile_text_changes_nothing_around_it(key):
    plain, page = card(figures=FIGURES), card(figures=FIGURES, **{key: HOSTILE})
    gone = {"datasets"} if key == "dataset" else set()
    assert header(page).keys() == header(plain).keys() - gone
    assert structure(page) == structure(plain)


def test_a_hostile_text_is_shown_as_it_is():
    html = MarkdownIt("commonmark").render(parts(card(limits=HOSTILE))[1])
    shown = unescape(re.sub("<[^>]*>", "", html)).split()
    start = shown.index("Limits") + 1
    assert shown[start : start + len(HOSTILE.split())] == HOSTILE.split()


def test_a_hostile_figure_leaves_the_tables_whole():
    figure = dict.fromkeys(("metric", "dataset", "source", "note"), HOSTILE)
    page = card(figures=[{"value": 1, **figure}])
    rows = [line for line in section(page, "Evaluation").splitlines() if line.startswith("|")]
    assert [row.count("|") for row in rows] == [6, 6, 6]
    assert structure(page) == structure(card(figures=FIGURES[:1]))
    [result] = header(page)["model-index"][0]["results"]
    assert result["dataset"]["name"] == " ".join(HOSTILE.split())


def test_words_with_underscores_and_addresses_stay_as_they_are():
    text = "By tools/train_embedded_preset.py, see https://example.org/a_b?c=d"
    assert text in card(provenance=text)


def test_equal_arguments_give_equal_pages():
    assert card(figures=FIGURES) == card(figures=FIGURES)


def test_a_note_on_the_licence_goes_with_the_licence():
    stated = {"description": "d", "dataset": "d", "provenance": "p", "license": "MIT"}
    stated["license_note"] = "as their code"
    assert "license_note" not in merged_metadata(stated, {"license": "CC0-1.0"})
    assert merged_metadata(stated, {})["license_note"] == "as their code"
