"""Clients of the Hub on loopback: this process, or one of its own with a user's environment.

huggingface_hub reads its environment when it is imported, so each call of a `Client` gets a process
that has not imported it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fake_hub import TOKEN, Hub, serving
from run_in_forks import Script

import dolg_zoo

CALL_SCRIPT = Path(__file__).with_name("call_in_process.py")


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving() as hub:
        yield hub


@pytest.fixture(scope="module")
def module_hub() -> Iterator[Hub]:
    """One for all tests of a module, where what is served is large."""
    with serving() as hub:
        yield hub


@pytest.fixture
def logged_in(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """Makes this process a client of the server, with the owner's token."""
    talk_to(hub.endpoint, tmp_path / "hub-cache", monkeypatch)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    # the client waits for seconds between its attempts; a loopback server needs no rest
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    return hub


def talk_to(endpoint: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this process a client of a server.

    huggingface_hub looks these constants up whenever it needs them.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session

    settings = {
        "ENDPOINT": endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(cache),
        "HF_TOKEN_PATH": str(cache / "no-token"),
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_DISABLE_TELEMETRY": True,
    }
    for name, value in settings.items():
        monkeypatch.setattr(constants, name, value)
    for name in ("HF_TOKEN", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    close_session()


@dataclass
class Client:
    """Calls dolg_zoo.weights with the environment a user would set; `home` is HF_HOME."""

    endpoint: str
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        inherited = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith("HF_") and not key.lower().endswith("_proxy")
        }
        return inherited | {
            # the dolg_zoo under test, whether it is installed or found from the working folder
            "PYTHONPATH": str(Path(dolg_zoo.__file__).parents[1]),
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(self.home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }

    def start(self, function: str, /, *, env: dict[str, str], **arguments: Any) -> Script:
        command = [CALL_SCRIPT, json.dumps([function, arguments])]
        return Script(command, self.environment | env)

    def call(self, function: str, /, **arguments: Any) -> dict[str, Any]:
        """Return what the function returned, or its error's class and message."""
        return finished(self.start(function, env={}, **arguments))

    def call_offline(self, function: str, /, **arguments: Any) -> dict[str, Any]:
        return finished(self.start(function, env={"HF_HUB_OFFLINE": "1"}, **arguments))

    def call_without_links(self, function: str, /, **arguments: Any) -> dict[str, Any]:
        return finished(self.start(function, env={"HF_HUB_DISABLE_SYMLINKS": "1"}, **arguments))

    @property
    def cache(self) -> Path:
        return self.home / "hub"

    def cached_files(self) -> list[Path]:
        return [path for path in self.cache.glob("models--*/*/**/*") if path.is_file()]


def finished(script: Script) -> dict[str, Any]:
    output, errors = script.communicate(timeout=60)
    assert script.returncode == 0, errors
    return json.loads(output)


@pytest.fixture
def client(hub: Hub, tmp_path: Path) -> Client:
    return Client(hub.endpoint, tmp_path / "hf")
