import shutil
from pathlib import Path

import numpy as np
import pytest
from read_once import reading_each_preset_once
from small_model import STATED, small_model

from dolg_zoo.layers import CurricularFace


@pytest.fixture(scope="session")
def model():
    return small_model(**STATED)


@pytest.fixture
def margin_head():
    head = CurricularFace(num_classes=4, name="margin_head")
    head.build((None, 6))
    head.centers.assign(np.random.default_rng(0).normal(size=head.centers.shape))
    return head


@pytest.fixture(scope="session")
def written(model, tmp_path_factory):
    """The model's folder, for tests to copy."""
    folder = tmp_path_factory.mktemp("written") / "preset"
    model.save_to_preset(folder)
    return folder


@pytest.fixture
def folder(written, tmp_path):
    return Path(shutil.copytree(written, tmp_path / "preset"))


@pytest.fixture(scope="module", autouse=True)
def _each_preset_read_once():
    with reading_each_preset_once():
        yield
