from pathlib import Path

import pytest
from fake_hub import flip, header, status
from preset_files import flip_a_byte

REPO = "someone/their-dolg"
SMALL, LARGE = "config.json", "model.weights.h5"
FILES = {SMALL: b'{"dim": 512}', LARGE: b"weights" * 1000}


def contents(outcome):
    return {name: (Path(outcome["folder"]) / name).read_bytes() for name in FILES}


@pytest.fixture
def commit(hub):
    return hub.commit(REPO, FILES)


def test_the_named_files_of_main_are_fetched_and_no_others(hub, client):
    commit = hub.commit(REPO, FILES | {"run_me.py": b"print('hello')"})
    outcome = client.call("fetch_repo", repo_id=REPO, files=[SMALL, LARGE])
    assert outcome["commit"] == commit
    assert contents(outcome) == FILES
    assert {path.name for path in Path(outcome["folder"]).iterdir()} == {SMALL, LARGE}


@pytest.mark.parametrize("revision", ["v1", "refs/pr/3"])
def test_a_tag_or_branch_is_resolved(hub, client, commit, revision):
    tagged = hub.commit(REPO, {SMALL: b"older", LARGE: b"older too"}, branch=revision)
    outcome = client.call("fetch_repo", repo_id=REPO, files=[SMALL], revision=revision)
    assert outcome["commit"] == tagged
    assert (Path(outcome["folder"]) / SMALL).read_bytes() == b"older"


def test_only_the_first_file_is_asked_of_the_branch(hub, client, commit):
    """So a push between two files cannot mix two commits."""
    client.call("fetch_repo", repo_id=REPO, files=[SMALL, LARGE])
    asked = [(r.file, r.where["revision"]) for r in hub.requests if r.method == "GET"]
    assert asked == [(SMALL, "main"), (LARGE, commit)]


def test_a_new_commit_of_the_branch_is_seen(hub, client, commit):
    client.call("fetch_repo", repo_id=REPO, files=[SMALL, LARGE])
    newer = hub.commit(REPO, FILES | {SMALL: b"newer"})
    outcome = client.call("fetch_repo", repo_id=REPO, files=[SMALL, LARGE])
    assert outcome["commit"] == newer
    [line] = outcome["logged"]
    assert "has moved" in line and f"hf://{REPO}@{commit}" in line and newer in line
    assert contents(outcome) == FILES | {SMALL: b"newer"}


def test_a_server_that_answers_with_another_commit_is_refused(hub, client, commit):
    asked = "a" * 40
    hub.repos[REPO].branches[asked] = commit
    outcome = client.call("fetch_repo", repo_id=REPO, files=[SMALL], revision=asked)
    assert outcome["error"] == "DownloadError"
    assert asked in outcome["message"]
    assert commit in outcome["message"]


@pytest.mark.parametrize("name", [SMALL, LARGE])
def test_wrong_bytes_of_the_right_size_are_refused(hub, client, commit, name):
    hub.breaks(flip, name, methods=("GET",), times=2)
    outcome = client.call("fetch_repo", repo_id=REPO, files=[SMALL, LARGE])
    assert outcome["error"] == "ChecksumError"
    assert f"{name} of hf://{REPO}@{commit}" in outcome["message"]


@pytest.mark.parametrize("name", [SMALL, LARGE])
def test_a_flipped_byte_in_the_cache_is_refused_offline_and_healed_online(client, commit, name):
    outcome = client.call("fetch_repo", repo_id=REPO, files=[SMALL, LARGE])
    flip_a_byte(Path(outcome["folder"]) / name)
    outcome = client.call_offline("fetch_repo", repo_id=REPO, files=[SMALL, LARGE])
    assert outcome["error"] == "ChecksumError" and name in outcome["message"]
    assert contents(client.call("fetch_repo", repo_id=REPO, files=[SMALL, LARGE])) == FILES


def test_offline_the_cache_serves(hub, client, commit):
    first = client.call("fetch_repo", repo_id=REPO, files=[SMALL, LARGE])
    hub.requests.clear()
    outcome = client.call_offline("fetch_repo", repo_id=REPO, files=[SMALL, LARGE])
    assert outcome == first | {"logged": []}
    assert hub.requests == []


def test_offline_without_the_files_the_command_names_all_of_them(client, commit):
    outcome = client.call_offline("fetch_repo", repo_id=REPO, files=[SMALL, LARGE])
    assert outcome["error"] == "UnreachableError"
    assert f"`hf download {REPO} {SMALL} {LARGE} --revision main " in outcome["message"]


def test_without_links_the_hash_is_asked_of_the_hub(client, commit):
    outcome = client.call_without_links("fetch_repo", repo_id=REPO, files=[SMALL, LARGE])
    for path in (Path(outcome["folder"]) / name for name in (SMALL, LARGE)):
        assert not path.is_symlink()
        flip_a_byte(path)
    outcome = client.call_without_links("fetch_repo", repo_id=REPO, files=[SMALL, LARGE])
    assert contents(outcome) == FILES


def test_a_mirror_whose_etags_are_no_hashes_is_asked_for_them(hub, client, commit):
    hub.breaks(header("ETag", '"17-abc"'), LARGE)
    hub.breaks(flip, LARGE, methods=("GET",), times=1)
    outcome = client.call("fetch_repo", repo_id=REPO, files=[SMALL, LARGE])
    assert contents(outcome) == FILES


def test_without_links_and_offline_nothing_unverified_is_handed_out(client, commit):
    client.call_without_links("fetch_repo", repo_id=REPO, files=[SMALL])
    outcome = client.call_offline("fetch_repo", repo_id=REPO, files=[SMALL])
    assert outcome["error"] == "DownloadError"
    assert "cannot be verified offline" in outcome["message"]
    assert f"hf download {REPO} --local-dir" in outcome["message"]


def test_an_unknown_repository_is_named(client):
    outcome = client.call("fetch_repo", repo_id="no/body", files=[SMALL])
    assert outcome["error"] == "DownloadError"
    assert f"{SMALL} of hf://no/body@main" in outcome["message"]
    assert "no such repository to you" in outcome["message"]


def test_the_commit_is_said_so_that_it_can_be_pinned(client, commit):
    [line] = client.call("fetch_repo", repo_id=REPO, files=[SMALL])["logged"]
    assert "main is at commit" in line and f"hf://{REPO}@{commit}" in line
    outcome = client.call("fetch_repo", repo_id=REPO, files=[SMALL], revision=commit)
    assert outcome["logged"] == []


@pytest.mark.parametrize("fault", ["unplugged", "overloaded"])
def test_when_the_hub_cannot_be_reached_the_last_known_commit_is_taken(hub, client, commit, fault):
    first = client.call("fetch_repo", repo_id=REPO, files=[SMALL, LARGE])
    if fault == "unplugged":
        client.endpoint = "http://127.0.0.1:9"
    else:
        hub.breaks(status(503))
    outcome = client.call("fetch_repo", repo_id=REPO, files=[SMALL, LARGE])
    assert outcome["folder"] == first["folder"] and outcome["commit"] == commit
    [line] = outcome["logged"]
    assert "cannot be reached" in line and commit in line
