"""The checks that a server's answers pass before huggingface_hub acts on them."""

import huggingface_hub
import pytest
from huggingface_hub.utils import _http

from dolg_zoo.weights.hub.guard import guarded_clients


@pytest.fixture
def fresh_client(monkeypatch):
    """No client has been made yet in this process."""
    monkeypatch.setattr(_http, "_GLOBAL_CLIENT_FACTORY", _http.default_client_factory)
    huggingface_hub.close_session()
    yield
    huggingface_hub.close_session()


def test_the_client_in_use_is_a_guarded_one(fresh_client):
    with guarded_clients("a file"):
        hooks = huggingface_hub.get_session().event_hooks["response"]
    assert [hook.__module__ for hook in hooks].count("dolg_zoo.weights.hub.guard") == 1


def test_a_hub_client_that_cannot_be_guarded_is_an_error(fresh_client, monkeypatch):
    # as if huggingface_hub had renamed the factory that it uses
    monkeypatch.setattr(huggingface_hub, "set_client_factory", lambda factory: None)
    unusable = pytest.raises(RuntimeError, match="does not use the client that checks")
    with unusable, guarded_clients("a file"):
        raise AssertionError("it was let through")
