"""Each command that writes leaves what is the user's, and says so before its work."""

import json

import numpy as np
import pytest

FOREIGN = '{"my": "own"}'
COMMANDS = [
    "search {photos} -q {photos}/rocket.png --montage {photo}",
    "search {photos} -q {photos}/rocket.png --montage {link}",
    "demo {photos} --montage {photo}",
    "map {photos} -o {photo}",
    "explain {photos}/rocket.png -o {photo}",
    "explain {photos}/rocket.png {photo} -o {photo}",
    "dedupe {photos} --csv {photo}",
    "dedupe {photos} --csv {table}",
    "index {photos} -o {project}",
    "index {photos} -o {photos}",
    "index {photos} -o {photo}",
    "embed {photos} -o {project}",
    "embed {photos} -o {photos}",
    "embed {photos} -o {arrays}",
    "whiten {photos} -o {project}",
    "whiten {photos} -o {photos}",
    "whiten {photos} -o {photo}",
    "fit --backbone resnet50_v1 --images {photos} -o {photos}",
    "train --data {photos} -o {photos}",
    "train --data {photos} -o {project}",
    "export -o {project}",
    "export -o {beside} --format litert --size 64,64",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_the_users_stays_and_nothing_is_computed(
    dolg, photos, tmp_path, monkeypatch, command
):
    project = tmp_path / "project"
    project.mkdir()
    for name in ("config.json", "index.json", "store.json", "model.json", "history.json"):
        (project / name).write_text(FOREIGN)
    (tmp_path / "table.csv").write_text("name,price\r\ncup,3\r\n")
    np.savez(tmp_path / "arrays.npz", mine=np.ones(3))
    (tmp_path / "link.png").symlink_to(photos / "coffee.png")
    places = {
        "photo": photos / "coffee.png",
        "link": tmp_path / "link.png",
        "table": tmp_path / "table.csv",
        "arrays": tmp_path / "arrays.npz",
        "beside": project / "model.tflite",
    }
    for loads in (
        "compiled.CompiledDOLG.cached",
        "dolg.DOLG.from_preset",
        "constructors.constructor",
    ):
        name = f"dolg_zoo.embedders.{loads}"
        monkeypatch.setattr(name, lambda *given, **more: pytest.fail("it began"))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    done = dolg(*command.format(photos=photos, project=project, **places).split())
    assert done.code == 1 and len(done.err.splitlines()) == 1
    assert "not replaced" in done.err or "not written over" in done.err or "is a file" in done.err
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before


def test_own_pictures_and_tables_are_replaced_and_never_found(dolg, photos):
    words = [
        f"search {photos} -q {photos}/rocket.png --montage {photos}/found.png",
        f"map {photos} -o {photos}/map.webp",
        f"explain {photos}/rocket.png {photos}/coffee.png -o {photos}/why.jpg",
        f"dedupe {photos} --csv {photos}/groups.csv",
    ]
    for command in 2 * words:
        assert dolg(*command.split()).code == 0
    said = json.loads(dolg("search", photos, "-q", photos / "found.png", "--json", "--strict").out)
    assert len(said["matches"]) == said["images"] == 4 and said["skipped"] == []


EDITS = {
    "a column": lambda text: text.replace("\r\n", ",mine\r\n"),
    "a cell": lambda text: text.replace("no", "yes"),
    "a row less": lambda text: text.rpartition("\r\n")[0].rpartition("\r\n")[0],
    "a note": lambda text: f"{text}checked on Monday\r\n",
    "another program's line ends": lambda text: text.replace("\r\n", "\n"),
    "another order": lambda text: text.splitlines(True)[0] + "".join(text.splitlines(True)[:0:-1]),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_table_that_the_user_has_edited_is_the_users(dolg, photos, tmp_path, edit):
    table = tmp_path / "groups.csv"
    command = ["dedupe", photos, "--threshold", "-1", "--csv", table]
    for _ in range(2):
        assert dolg(*command).code == 0
    edited = EDITS[edit](table.read_bytes().decode()).encode()
    assert edited != table.read_bytes()
    table.write_bytes(edited)
    done = dolg(*command)
    assert done.code == 1 and "an unchanged table of groups" in done.err and not done.out
    assert table.read_bytes() == edited


def test_results_are_printed_though_the_picture_cannot_be_drawn(dolg, photos, monkeypatch):
    def full(*given, **options):
        raise OSError("no room on the disk")

    monkeypatch.setattr("dolg_zoo.drawing.style.write_picture", full)
    monkeypatch.setattr("dolg_zoo.drawing.montage.write_picture", full)
    for command in (
        f"search {photos} -q {photos}/rocket.png --montage {photos}/found.png",
        f"map {photos} -o {photos}/map.png --json",
        f"explain {photos}/rocket.png {photos}/coffee.png -o {photos}/why.png",
        f"demo {photos} --montage {photos}/found.png",
    ):
        done = dolg(*command.split())
        assert done.code == 1 and "no room" in done.err and done.out
