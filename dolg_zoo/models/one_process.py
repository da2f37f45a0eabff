"""The common base of the models: they compute in the process that built the first of them."""

from __future__ import annotations

from typing import Any

from dolg_zoo._util.forked import check_not_forked


class OneProcess:
    """Base class of models that refuse to compute in a forked process.

    All ways to compute lead through one of these methods of `keras.Model`.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """See `keras.Model`."""
        check_not_forked()
        return super().__call__(*args, **kwargs)  # type: ignore[misc]

    def make_train_function(self, force: bool = False) -> Any:
        """See `keras.Model`; called before each training, as the two others before theirs."""
        check_not_forked()
        return super().make_train_function(force)  # type: ignore[misc]

    def make_test_function(self, force: bool = False) -> Any:
        """See `keras.Model`."""
        check_not_forked()
        return super().make_test_function(force)  # type: ignore[misc]

    def make_predict_function(self, force: bool = False) -> Any:
        """See `keras.Model`."""
        check_not_forked()
        return super().make_predict_function(force)  # type: ignore[misc]
