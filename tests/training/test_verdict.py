"""Whether training helped: what is said of scores that are known."""

import re

import numpy as np
import pytest

from dolg_zoo.training.validation import Scores, Verdict


def scores(means, count=10):
    """Classes of ten images with these mean average precisions."""
    return Scores(float(np.mean(means)), 0.0, [(count, count * mean) for mean in means], {})


def verdict(before, after, default=None, trained=12):
    return Verdict.of(scores(before), scores(after), default, trained_classes=trained, is_new=True)


def test_a_gain_in_every_class_is_more_than_chance():
    said = verdict([0.5, 0.6] * 4, [0.6, 0.7] * 4, default=scores([0.4] * 8))
    assert str(said) == (
        "Training helped: mAP 55.00 % before and 65.00 % after (default preset 40.00 %), on 80"
        " images of 8 classes that were not trained on; change +10.00, 95 % interval +10.00 to"
        " +10.00. Use the new preset; more classes would help further."
    )


def test_gains_and_losses_of_classes_may_be_chance():
    """Of n draws of +-d, the mean has the standard error d / sqrt(n)."""
    changes = np.array([0.12, -0.08] * 25)  # 0.02 in the mean, and 0.1 around it
    found = verdict(np.full(50, 0.5), 0.5 + changes, trained=40)
    np.testing.assert_allclose(
        found.interval, 0.02 + np.array([-1.96, 1.96]) * 0.1 / 50**0.5, atol=0.005
    )
    assert str(found).startswith("Whether training helped is not certain: mAP 50 % before and 52 %")
    assert "change +2.0, 95 % interval -0." in str(found)
    assert "Give more images, or validate on more" in str(found)


@pytest.mark.parametrize("classes", [2, 20])
def test_a_loss_means_that_the_start_is_kept(classes):
    said = str(verdict([0.8] * classes, [0.75] * classes))
    assert said.startswith("Training did not help, so the preset is the model before training")
    assert ("could tell a change from chance" in said) == (classes == 2)


def test_a_large_gain_on_two_classes_may_be_chance():
    said = str(verdict([0.86] * 2, [0.94] * 2))
    assert said.startswith("Whether training helped is not certain")
    assert "6 classes or more could tell a change from chance" in said


def test_figures_have_no_more_digits_than_the_interval_allows():
    """One place more than the half width of the interval is noise."""
    rng = np.random.default_rng(0)
    for spread, digits in ((0.3, 2), (0.03, 3), (0.003, 4)):
        before = np.full(60, 0.5)
        found = verdict(before, before + rng.normal(0, spread, 60))
        assert found.digits == digits, found.interval
        assert re.search(rf"mAP 50(\.0{{{digits - 2}}})? % before", str(found))
