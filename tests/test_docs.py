"""The pages of docs/ run, name no command that there is not, and are built without a warning."""

import ast
import importlib.util
import json
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import typer
from documents import ROOT, blocks_of, lay_out, run_dolg
from small_model import small_model

from dolg_zoo.cli import build_app
from dolg_zoo.presets import DEFAULT_PRESET
from dolg_zoo.weights import load_manifest

DOCS = ROOT / "docs"
ELSEWHERE = {"vector_stores.md", "extraction_on_a_cluster.md"}  # which have tests of their own
NEEDS = {"keras_hub.md": "keras_hub"}
PAGES = {
    path.relative_to(DOCS).as_posix(): path.read_text()
    for path in sorted([*DOCS.glob("*.md"), *DOCS.glob("reports/*.md")])
}
CHECKED = {**PAGES, "README.md": (ROOT / "README.md").read_text()}
DOLG = typer.main.get_command(build_app(()))
RUN = [
    name
    for name, text in PAGES.items()
    if name not in ELSEWHERE and blocks_of(text, "python", "console")
]
ASSIGNMENT = re.compile(r"\w+=\S*")
SMALL = "my-dolg"


def resolved(arguments):
    """Which command arguments are for, and what is left of them; KeyError where there is none."""
    command, name = DOLG, "dolg"
    while hasattr(command, "commands") and arguments and not arguments[0].startswith("-"):
        name, *arguments = arguments
        command = command.commands[name]
    return command, name, arguments


def dolg_commands():
    """Every `dolg` of a sh or a console block, with its page; `FOO=1 dolg` and `a && dolg` too."""
    for page, text in CHECKED.items():
        for block in blocks_of(text, "sh", "console"):
            for line in block.commands:
                for part in re.split(r"&&|\|", line):
                    words = shlex.split(part, comments=True)
                    while words and ASSIGNMENT.fullmatch(words[0]):
                        del words[0]
                    if words and Path(words[0]).name == "dolg":
                        words = words[1 : words.index(">") if ">" in words else None]
                        yield pytest.param(words, id=f"{page}: {' '.join(words)}")


@pytest.mark.parametrize("arguments", list(dolg_commands()))
def test_a_command_can_be_given_like_that(arguments):
    command, name, rest = resolved(arguments)
    assert not hasattr(command, "commands"), f"dolg {arguments} lacks a command"
    command.make_context(name, rest)  # parses and checks, and does not run it


@pytest.mark.parametrize("page", CHECKED)
def test_what_a_sentence_names_of_dolg_exists(page):
    spans = re.findall(
        r"`dolg ([^`]+)`", re.sub(r"^```.*?^```", "", CHECKED[page], flags=re.M | re.S)
    )
    for span in spans:
        words = shlex.split(span)
        if not words[0].islower():
            continue
        command, _, rest = resolved(words)
        known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        named = {word for word in rest if word.startswith("-")}
        assert named <= known, f"`dolg {span}` names {named - known}"


def test_the_tools_that_are_named_exist_and_have_those_options():
    sources = {path.name: path.read_text() for path in (ROOT / "tools").rglob("*.py")}
    everything = "".join(sources.values())
    lines = [
        line
        for text in PAGES.values()
        for block in blocks_of(text, "sh")
        for line in block.commands
        if line.startswith("python tools/")
    ]
    assert len(lines) > 3
    for line in lines:
        _, script, *arguments = shlex.split(line)
        assert Path(script).name in sources
        for option in (word for word in arguments if word.startswith("--")):
            assert f'"{option}"' in everything, line


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder like that of the README's test, with what the pages speak of besides.

    Where no preset is named, a small one stands for that which ships: weights do not matter here.
    """
    folder = tmp_path / "place"
    folder.mkdir()
    lay_out(folder)
    small_model().save_to_preset(folder / SMALL)
    monkeypatch.setattr("dolg_zoo.presets.registry.DEFAULT_PRESET", SMALL)
    save_file = pytest.importorskip("safetensors.numpy").save_file
    save_file({"fc.weight": np.eye(3, dtype="float32")}, folder / "model.safetensors")
    monkeypatch.setenv("DOLG_ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN)
def test_a_page_runs_from_top_to_bottom(page, place, logged_in, monkeypatch, capfd):
    if page in NEEDS:
        pytest.importorskip(NEEDS[page], reason=f"{NEEDS[page]} is not installed")
    namespace = {}
    for block in blocks_of(PAGES[page]):
        if block.title:
            told = block.text.replace(DEFAULT_PRESET, SMALL)
            (place / block.title).write_text(told)
        if block.language == "python":
            exec(compile(block.text, page, "exec"), namespace)
        if block.language == "console":
            for command in block.commands:
                run_dolg(command, monkeypatch, capfd)


def test_what_is_no_page_to_run_has_nothing_to_run():
    known = {"python", "console", "sh", "toml", "json", "text"}
    assert {block.language for text in PAGES.values() for block in blocks_of(text)} <= known
    assert len(RUN) > 8


def notebook_cells():
    notebook = json.loads((DOCS / "notebook.ipynb").read_text())
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_the_notebook_is_stored_without_outputs():
    for cell in notebook_cells():
        assert cell["outputs"] == [] and cell["execution_count"] is None


def displayed(value):
    """What a notebook shows of a value."""
    for name in ("_repr_html_", "_repr_png_"):
        if hasattr(value, name):
            return getattr(value, name)()
    return repr(value)


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace, shown = {}, []
    for cell in notebook_cells():
        tree = ast.parse("".join(cell["source"]))
        last = tree.body[-1] if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(ast.Module(tree.body[: -1 if last else None], []), "cell", "exec"), namespace)
        if last:
            value = eval(compile(ast.Expression(last.value), "cell", "eval"), namespace)
            shown.append((value, displayed(value)))
    found = next(value for value, _ in shown if type(value).__name__ == "Matches")
    assert [match.name.split("/")[0] for match in found[:3]] == ["rocket"] * 3
    assert sum("<img" in str(picture) for _, picture in shown) >= 2
    assert sum(isinstance(picture, bytes) for _, picture in shown) >= 1


class Fetched(HTMLParser):
    """What a browser fetches for a page by itself: not where a reader may go."""

    def __init__(self):
        super().__init__()
        self.addresses = []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag in ("script", "img", "link", "iframe", "source"):
            self.addresses += filter(None, (values.get("src"), values.get("href")))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The pages, built; a warning of any kind would end it."""
    for needed in ("mkdocs", "material", "mkdocstrings_handlers"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip('needs pip install ".[docs]"')
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)  # mkdocstrings looks for the sources from there
        build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True))
    return folder


@pytest.mark.slow
def test_the_built_pages_fetch_nothing_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(PAGES)  # and a page for what is not found
    for page in pages:
        parser = Fetched()
        parser.feed(page.read_text())
        assert parser.addresses
        assert not [a for a in parser.addresses if re.match(r"(https?:)?//", a)], page


@pytest.mark.slow
def test_the_built_table_has_every_preset_and_figure_of_the_manifest(site):
    page = (site / "choose_a_preset" / "index.html").read_text()
    entries = json.loads((ROOT / "weights_manifest.json").read_text())
    entries = entries["presets"] | entries["checkpoints"]
    assert len(entries) >= 3
    for name, entry in entries.items():
        assert f"<code>{name}</code>" in page and f">{entry['license']}<" in page
        section = page.split(f'id="{name}"')[1].split("<h3")[0]
        for figure in entry["figures"]:
            assert f"<td>{figure['value']:g}</td>" in section and figure["source"] in section
        assert entry["figures_note"] in section


@pytest.mark.slow
def test_every_public_name_is_in_the_reference(site):
    import dolg_zoo

    page = (site / "api" / "index.html").read_text()
    headings = set(re.findall(r'id="dolg_zoo\.[\w.]*?(\w+)" class="doc', page))
    for module in ("layers", "retrieval", "evaluation", "training", "runtimes"):
        assert set(getattr(dolg_zoo, module).__all__) <= headings
    constructors = {f"dolg_{name}" for name in dolg_zoo.BACKBONES}
    others = {name for name in dolg_zoo.__all__ if callable(getattr(dolg_zoo, name))} - constructors
    assert len(others) > 10 and others <= headings
    assert all(f"<code>{name}</code>" in page for name in constructors)
    # what a class has from its base is its own to a reader
    assert 'id="dolg_zoo.embedders.dolg.DOLG.embed"' in page and 'Index.search"' in page


@pytest.mark.slow
def test_the_built_pages_have_the_pictures_of_the_networks(site):
    for name in ("dolg_resnet50_gldv2", "dolg_efficientnet_lite_b0_places_products"):
        assert name in load_manifest().entries
        picture = site / "images" / f"{name}.png"
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.name in (site / "architecture" / "index.html").read_text()


@pytest.mark.slow
def test_every_preset_has_its_model_card(site):
    entries = json.loads((ROOT / "weights_manifest.json").read_text())
    for name, entry in (entries["presets"] | entries["checkpoints"]).items():
        page = (site / "cards" / name / "index.html").read_text()
        # of each file of a preset, or of the one that it is converted from
        hashes = [file["sha256"] for file in entry.get("files", {"checkpoint": entry}).values()]
        assert all(sha256 in page for sha256 in hashes)
        assert "Training data and provenance" in page and entry["license"] in page
