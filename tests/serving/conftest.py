import pytest
from small_model import small_model

from dolg_zoo.retrieval import Index


@pytest.fixture(scope="session")
def model():
    """Of random weights: what the page does with descriptors does not depend on them."""
    return small_model(preset="small")


@pytest.fixture(scope="session")
def desk_of(model):
    """Makes a desk over a folder."""
    from dolg_zoo.serving import SearchDesk

    return lambda folder: SearchDesk(
        lambda preset: Index.build(model, folder, progress=False),
        lambda preset: model,
        ["a-preset", "another"],
    )


@pytest.fixture
def desk(desk_of, photos):
    return desk_of(photos)
