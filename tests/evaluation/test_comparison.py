import pytest
from small_model import small_model

from dolg_zoo.evaluation.comparison import Comparison, compare


@pytest.mark.parametrize(
    ("measure", "after", "worse"),
    [
        ("mAP", 0.895, False),
        ("mAP", 0.88, True),
        ("mAP", float("nan"), True),
        ("agreement", 0.85, False),
        ("agreement", 0.75, True),
    ],
)
def test_what_is_too_much(measure, after, worse):
    assert Comparison("x", measure, 0.9, after).is_worse(0.01) is worse


def test_without_classes_the_nearest_are_compared(photos):
    (photos / "far" / "chelsea.png").rename(photos / "chelsea.png")
    (photos / "far").rmdir()
    model = small_model()
    assert compare(model, model, photos) == Comparison(str(photos), "agreement", 1.0, 1.0)
