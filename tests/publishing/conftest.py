import numpy as np
import pytest
from writable_hub import STATED, log_in, serving, small_model

from dolg_zoo.layers import CurricularFace


@pytest.fixture
def hub():
    with serving() as hub:
        yield hub


@pytest.fixture
def logged_in(hub, tmp_path, monkeypatch):
    log_in(hub, tmp_path, monkeypatch)
    return hub


@pytest.fixture(scope="session")
def model():
    return small_model(**STATED)


@pytest.fixture
def margin_head():
    head = CurricularFace(num_classes=4, name="margin_head")
    head.build((None, 6))
    head.centers.assign(np.random.default_rng(0).normal(size=head.centers.shape))
    return head


@pytest.fixture
def folder(model, tmp_path):
    model.save_to_preset(tmp_path / "preset")
    return tmp_path / "preset"
