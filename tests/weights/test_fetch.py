import errno
import hashlib
import os
import socket
from pathlib import Path

import pytest
from fake_hub import TOKEN, cut, flip, flipped, header, status
from hub_client import finished
from preset_files import flip_a_byte

from dolg_zoo._util.hashing import fault_in

REPO = "someone/landmarks"
NAME = "model.weights.h5"
DATA = bytes(range(256)) * 4000


def pinned(commit, data=DATA, name=NAME):
    sha256 = hashlib.sha256(data).hexdigest()
    return {"repo": REPO, "revision": commit, "path": name, "size": len(data), "sha256": sha256}


@pytest.fixture
def file(hub):
    return pinned(hub.commit(REPO, {NAME: DATA}))


def test_the_bytes_of_the_pinned_commit_are_fetched(hub, client, file):
    hub.commit(REPO, {NAME: b"what main holds now"})
    path = Path(client.call("fetch", file=file)["path"])
    assert path.read_bytes() == DATA
    assert path.name == NAME
    assert path.is_relative_to(client.cache)


def test_a_cached_file_costs_no_request_and_serves_offline(hub, client, file):
    first = client.call("fetch", file=file)
    hub.requests.clear()
    assert client.call("fetch", file=file) == first
    assert client.call_offline("fetch", file=file) == first
    assert hub.requests == []


def test_cache_dir_is_used_instead_of_the_users_cache(client, file, tmp_path):
    arguments = {"repo_id": file["repo"], "files": [file["path"]], "revision": file["revision"]}
    outcome = client.call("fetch_repo", **arguments, cache_dir=str(tmp_path / "mine"))
    assert Path(outcome["folder"]).is_relative_to(tmp_path / "mine")
    assert not client.cache.exists()


@pytest.mark.parametrize("links", [True, False])
def test_a_flipped_byte_in_the_cache_is_refused_offline_and_healed_online(client, file, links):
    call = client.call if links else client.call_without_links
    path = Path(call("fetch", file=file)["path"])
    assert path.is_symlink() == links
    flip_a_byte(path)
    outcome = client.call_offline("fetch", file=file)
    assert outcome["error"] == "ChecksumError"
    assert file["sha256"] in outcome["message"] and "HF_HUB_OFFLINE" in outcome["message"]
    assert Path(call("fetch", file=file)["path"]).read_bytes() == DATA


def test_a_file_left_by_a_wrong_mirror_does_not_outlive_it(hub, client, file):
    """The mirror's bytes had their own etag, so that the right ones come under another."""
    path = Path(client.call("fetch", file=file)["path"])
    wrong = path.parents[2] / "blobs" / ("0" * 64)
    wrong.write_bytes(b"of the mirror")
    path.unlink()
    path.symlink_to(wrong)
    assert Path(client.call("fetch", file=file)["path"]).read_bytes() == DATA


def test_processes_that_meet_a_damaged_cache_together_all_get_the_right_bytes(hub, client, file):
    flip_a_byte(Path(client.call("fetch", file=file)["path"]))
    hub.requests.clear()
    processes = [client.start("fetch", env={}, file=file) for _ in range(4)]
    outcomes = [process.communicate(timeout=60)[0] for process in processes]
    assert all('"path"' in outcome for outcome in outcomes), outcomes
    assert hub.count("GET") == 1


def test_one_damaged_transfer_is_repeated(hub, client, file):
    hub.breaks(flip, NAME, methods=("GET",), times=1)
    assert Path(client.call("fetch", file=file)["path"]).read_bytes() == DATA
    assert hub.count("GET") == 2


def test_wrong_bytes_of_the_right_size_are_refused_by_both_hashes_and_not_kept(hub, client, file):
    hub.breaks(flip, NAME, methods=("GET",), times=2)
    outcome = client.call("fetch", file=file)
    wrong = hashlib.sha256(flipped(DATA)).hexdigest()
    assert outcome["error"] == "ChecksumError"
    for word in (REPO, file["revision"], NAME, file["sha256"], wrong):
        assert word in outcome["message"]
    assert hub.count("GET") == 2
    assert client.cached_files() == []
    assert Path(client.call("fetch", file=file)["path"]).read_bytes() == DATA


def test_a_file_of_the_wrong_size_is_refused_by_both_sizes(client, file):
    outcome = client.call("fetch", file=file | {"size": 5})
    assert outcome["error"] == "ChecksumError"
    assert f"{len(DATA)} bytes, expected 5" in outcome["message"]


def test_what_the_server_itself_says_is_another_file_is_not_downloaded(hub, client, file):
    outcome = client.call("fetch", file=file | {"sha256": "5" * 64}, preset="dolg_of_mine")
    assert outcome["error"] == "ChecksumError"
    for word in ("dolg_of_mine", REPO, file["revision"], NAME, "5" * 64, file["sha256"]):
        assert word in outcome["message"]
    assert hub.count("GET") == 0
    assert client.cached_files() == []


@pytest.mark.parametrize("etag", ["../../../outside", "{outside}"])
def test_an_etag_that_is_a_path_is_refused_before_anything_is_written(
    hub, client, file, etag, tmp_path
):
    outside = tmp_path / "outside"
    etag = etag.format(outside=outside)
    hub.breaks(header("ETag", f'"{etag}"'))
    outcome = client.call("fetch", file=file)
    assert outcome["error"] == "DownloadError"
    assert etag in outcome["message"]
    assert f"{NAME} of hf://{REPO}" in outcome["message"]
    assert not outside.exists() and not list(tmp_path.rglob("outside*"))


def test_an_interrupted_transfer_goes_on_where_it_stopped(hub, client):
    # The Hub client writes pieces of 10 MiB, and goes on after the last that is whole.
    data = DATA * 12
    file = pinned(hub.commit(REPO, {NAME: data}), data)
    hub.breaks(cut(0.95), methods=("GET",), times=1)
    assert Path(client.call("fetch", file=file)["path"]).read_bytes() == data
    ranges = [asked.headers["Range"] for asked in hub.requests if asked.method == "GET"]
    assert ranges == [None, f"bytes={10 << 20}-"]


def test_offline_without_the_file_the_command_to_get_it_is_named(client, file):
    outcome = client.call_offline("fetch", file=file)
    assert outcome["error"] == "UnreachableError"
    command = f"`hf download {REPO} {NAME} --revision {file['revision']} --cache-dir hub`"
    assert command in outcome["message"]
    assert f"hub/models--someone--landmarks into {client.cache}." in outcome["message"]


@pytest.mark.parametrize(
    ("change", "fault", "words"),
    [
        ({"path": "absent.h5"}, None, [f"absent.h5 of hf://{REPO}", "no such file"]),
        ({"revision": "0" * 40}, None, [f"hf://{REPO}@{'0' * 40}", "no such revision"]),
        *(
            ({}, status(code, X_Error_Code=name), [f"repository to you (status {code})", "hf auth"])
            for code, name in ((401, "RepoNotFound"), (401, ""), (403, ""))
        ),
        ({}, status(403, X_Error_Code="GatedRepo"), ["Accept its conditions"]),
    ],
)
def test_what_the_hub_does_not_give_is_named_with_the_way_to_it(
    hub, client, file, change, fault, words
):
    if fault:
        hub.breaks(fault)
    outcome = client.call("fetch", file=file | change)
    assert outcome["error"] == "DownloadError"
    for word in [REPO, *words]:
        assert word in outcome["message"]


def test_a_private_repository_opens_to_a_token_that_no_error_shows(hub, client, file):
    hub.repos[REPO].private = True
    assert "HF_TOKEN" in client.call("fetch", file=file)["message"]
    wrong = finished(client.start("fetch", env={"HF_TOKEN": "hf_wrong"}, file=file))
    assert wrong["error"] == "DownloadError" and "hf_wrong" not in wrong["message"]
    assert "path" in finished(client.start("fetch", env={"HF_TOKEN": TOKEN}, file=file))


def test_a_failing_server_is_quoted(hub, client, file):
    hub.breaks(status(503))
    outcome = client.call("fetch", file=file)
    assert outcome["error"] == "UnreachableError"
    assert hub.endpoint in outcome["message"]
    assert "503" in outcome["message"]


@pytest.mark.parametrize("headers", [{"Retry_After": "3600"}, {"RateLimit": '"api";r=0;t=3600'}])
def test_a_server_that_asks_to_wait_long_is_not_waited_for(hub, client, file, headers):
    hub.breaks(status(429, **headers))
    outcome = client.call("fetch", file=file)
    assert "try again in 3600 seconds" in outcome["message"]
    assert len(hub.requests) == 1


def test_an_unreachable_server_is_named_with_the_command_to_do_without(client, file):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        client.endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        outcome = client.call("fetch", file=file)
    assert outcome["error"] == "UnreachableError"
    assert f"could not be fetched from {client.endpoint}" in outcome["message"]
    assert os.strerror(errno.ECONNREFUSED) in outcome["message"]
    assert f"hf download {REPO} {NAME}" in outcome["message"]


def test_a_full_disk_is_named(client, file):
    outcome = client.call("fetch", file=file, file_size_limit=100_000)
    assert outcome["error"] == "DownloadError"
    assert f"cannot be stored in {client.cache}" in outcome["message"]
    assert client.cached_files() == []


def test_a_file_that_vanishes_while_it_is_looked_at_is_a_fault_not_a_crash(tmp_path):
    assert fault_in(tmp_path / "gone", "0" * 64) == "it is missing"
