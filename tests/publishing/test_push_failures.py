import json

import pytest
from fake_hub import READER, TOKEN, cut, flip, status
from preset_files import edit_json, flip_a_byte, forget_hashes
from small_model import small_model

from dolg_zoo import PresetError
from dolg_zoo.layers import ArcFace
from dolg_zoo.publishing import PublishError, push_to_hub

REPO = "me/toy"
CUT = cut(-1, "reset")
FIGURE = {"value": 0.5, "metric": "mAP", "dataset": "toys", "source": "me"}


def refusal(preset, repo=REPO, **arguments):
    with pytest.raises(PublishError) as caught:
        push_to_hub(preset, repo, **arguments)
    message = str(caught.value)
    assert TOKEN not in message and READER not in message
    return message


@pytest.fixture
def other(logged_in, folder):
    """A preset that is to be published where there is something already."""
    logged_in.commit(REPO, {"config.json": b"{}", "report.json": b"{}"})
    return folder


def state(hub):
    return list(hub.repos[REPO].commits)


@pytest.mark.parametrize("name", ["toy", "me/toy/toy", "me//toy", "me/to y", "me/to--y", "", 3])
def test_a_name_that_is_none_is_refused_before_any_work(logged_in, name):
    assert "user/name" in refusal("no such folder", name)
    assert not logged_in.requests


@pytest.mark.parametrize("is_offline", [False, True])
def test_offline_or_without_a_token_nothing_is_asked(logged_in, folder, monkeypatch, is_offline):
    if is_offline:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    else:
        monkeypatch.delenv("HF_TOKEN")
    message = refusal(folder)
    assert ("HF_HUB_OFFLINE" if is_offline else "hf auth login`, or set HF_TOKEN") in message
    assert not logged_in.requests


def test_a_token_that_is_none(logged_in, folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    message = refusal(folder)
    assert "does not accept your token" in message and "hf auth login" in message
    assert "hf_expired" not in message
    assert not logged_in.repos


def test_a_token_that_may_only_read(other, logged_in, monkeypatch):
    before = state(logged_in)
    monkeypatch.setenv("HF_TOKEN", READER)
    message = refusal(other)
    assert "may not write" in message and "403" in message and REPO in message
    assert state(logged_in) == before


def test_a_namespace_of_someone_else(logged_in, folder):
    message = refusal(folder, "them/toy")
    assert "namespace is not yours" in message and "them/toy" in message
    assert not logged_in.repos


@pytest.mark.parametrize(
    ("step", "fault", "said"),
    [
        ("create", status(500, "broken"), "try again"),
        ("create", CUT, "connection"),
        ("info", status(404, "it is a dataset"), "no such model repository"),
        ("validate", status(400, "bad header"), "Invalid metadata in README.md"),
        ("preupload", status(413, "quota exceeded"), "room does not suffice"),
        ("batch", status(403, "storage is full"), "storage is full"),
        ("put", CUT, "connection"),
        ("put", status(507, "full"), "507"),
        ("commit", status(500, "broken"), "500"),
        ("commit", status(412, "changed"), "someone else"),
        ("commit", status(429, "slowly"), "later"),
        ("commit", CUT, "connection"),
    ],
)
def test_what_fails_on_the_way_is_one_message_and_no_commit(other, logged_in, step, fault, said):
    before = state(logged_in)
    logged_in.breaks(fault, step=step)
    message = refusal(other)
    assert said in message and REPO in message and "Nothing was published" in message
    assert state(logged_in) == before


def test_what_someone_else_published_meanwhile_is_not_undone(other, logged_in):
    theirs = {"theirs": b"1"}
    logged_in.breaks(lambda answer: logged_in.commit(REPO, theirs), step="batch", done=True)
    assert "someone else has changed the repository" in refusal(other)
    assert logged_in.files(REPO) == theirs


def test_after_a_failure_the_next_call_succeeds(other, logged_in):
    logged_in.breaks(CUT, step="put")
    refusal(other)
    logged_in.heal()
    published = push_to_hub(other, REPO)
    assert state(logged_in)[1:] == [published.commit]


def test_an_account_that_must_pay_first(logged_in, folder):
    logged_in.breaks(status(402, "no credit"), step="create")
    assert "(status 402) (no credit). Nothing was published." in refusal(folder)


def test_an_answer_that_is_lost_after_the_commit_is_not_called_nothing(other, logged_in):
    logged_in.breaks(CUT, step="commit", done=True)
    message = refusal(other)
    assert "Nothing was published" not in message
    assert state(logged_in)[-1] in message
    logged_in.heal()
    commits = state(logged_in)
    assert push_to_hub(other, REPO).commit == commits[-1]
    assert state(logged_in) == commits


def test_a_server_that_repeats_the_token_does_not_make_it_shown(logged_in, folder):
    logged_in.breaks(status(403, f"bad header: Bearer {TOKEN}"), step="create")
    assert "bad header" in refusal(folder)


@pytest.mark.parametrize("name", ["config.json", "README.md"])
def test_a_file_that_the_hub_keeps_otherwise_is_noticed(logged_in, folder, name):

    def keep_otherwise(answer):
        logged_in.files(REPO)[name] += b" "

    logged_in.breaks(keep_otherwise, step="commit", done=True)
    message = refusal(folder)
    commit, files = logged_in.repos[REPO].head
    assert name in message and commit in message and state(logged_in)[0] in message
    assert f"it has {len(files[name])} bytes, expected {len(files[name]) - 1}" in message


@pytest.mark.parametrize("name", ["config.json", "model.weights.h5"])
def test_a_file_that_comes_back_damaged_is_noticed(logged_in, folder, name):
    logged_in.breaks(flip, name, step="resolve")
    message = refusal(folder)
    assert name in message and "expected" in message and logged_in.repos[REPO].head[0] in message


def test_all_that_lacks_is_named_before_anything_is_sent(logged_in, tmp_path):
    small_model(description="  ").save_to_preset(tmp_path / "bare")
    message = refusal(tmp_path / "bare", metadata={"dataset": "toys"})
    assert "its description, license, provenance." in message
    assert "metadata={'description'" in message
    assert not logged_in.requests


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"licence": "MIT"}, "no 'licence'"),
        ({"sha256": {}}, "no 'sha256'"),
        ({"license": "free for all"}, "SPDX"),
        ({"limits": 3}, "limits must be a text"),
        ({"description": "\ud800"}, "UTF-8"),
        ({"figures": {}}, "figures must be a list"),
        ({"figures": [{**FIGURE, "value": float("nan")}]}, "finite"),
        ({"figures": [{**FIGURE, "value": 10**400}]}, "finite"),
        ({"figures": [{**FIGURE, "value": True}]}, "finite"),
        ({"figures": [{**FIGURE, "source": " "}]}, "not empty"),
        ([("name", "x")], "dictionary"),
    ],
)
def test_metadata_of_a_wrong_kind_is_refused(logged_in, folder, metadata, said):
    assert said in refusal(folder, metadata=metadata)
    assert not logged_in.requests


def test_metadata_of_a_wrong_kind_in_the_folder_is_refused(logged_in, folder):
    edit_json(folder / "metadata.json", lambda values: values.update(figures=[{"what": "mAP"}]))
    assert "figures must be a list" in refusal(folder)
    assert not logged_in.requests


def test_a_folder_that_does_not_load_is_refused_before_anything_is_sent(logged_in, folder):
    flip_a_byte(folder / "model.weights.h5")
    with pytest.raises(PresetError, match=r"model\.weights\.h5"):
        push_to_hub(folder, REPO)
    assert not logged_in.requests


def test_a_margin_head_that_is_damaged_is_refused_before_anything_is_sent(
    logged_in, model, margin_head, tmp_path
):
    model.save_to_preset(tmp_path / "kept", margin_head)
    (tmp_path / "kept" / "margin_head.npz").write_bytes(b"damaged")
    forget_hashes(tmp_path / "kept")  # which need not be stated
    with pytest.raises(PresetError, match="margin_head"):
        push_to_hub(tmp_path / "kept", REPO)
    assert not logged_in.requests


def test_a_margin_head_beside_a_folder_is_refused(logged_in, folder, margin_head):
    assert "with a model only" in refusal(folder, margin_head=margin_head)


def test_a_margin_head_of_no_kind_that_is_kept_is_refused(logged_in, model):
    with pytest.raises(PresetError, match="margin head"):
        push_to_hub(model, REPO, margin_head=ArcFace(3))  # not built


def test_what_is_no_folder_is_refused(logged_in, tmp_path):
    assert "There is no folder" in refusal(tmp_path / "nothing")


@pytest.mark.parametrize("name", ["metadata.json", "report.json"])
def test_a_link_is_not_followed_out_of_the_folder(logged_in, folder, tmp_path, name):
    secret = tmp_path / "secret.json"
    secret.write_text('{"auths": "of mine"}')
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(secret)
    with pytest.raises(PresetError, match=rf"{name} is a link"):
        push_to_hub(folder, REPO)
    assert REPO not in logged_in.repos


def test_a_report_of_any_depth_and_length_makes_a_short_page(logged_in, folder):
    deep = {}
    for _ in range(900):
        deep = {"x": deep}
    report = {"deep": deep} | {f"row {number}": number for number in range(5000)}
    (folder / "report.json").write_text(json.dumps(report))
    push_to_hub(folder, REPO)
    assert len(logged_in.files(REPO)["README.md"]) < 20_000


def test_what_json_does_not_know_is_refused(logged_in, folder):
    edit_json(folder / "metadata.json", lambda values: values.update(mine=float("nan")))
    with pytest.raises(PresetError, match="NaN is no JSON"):
        push_to_hub(folder, REPO)
