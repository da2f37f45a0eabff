"""The common base of the models: no computation in forked processes; `from_config`."""

from __future__ import annotations

from typing import Any, ClassVar

import keras

from dolg_zoo._util.forked import check_not_forked


class OneProcess:
    """Base class of models that refuse to compute in a forked process.

    Every computation calls one of these methods of `keras.Model`.
    """

    keras_parts: ClassVar[tuple[str, ...]] = ()  # the arguments that Keras serializes

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """See `keras.Model`."""
        check_not_forked()
        return super().__call__(*args, **kwargs)  # type: ignore[misc]

    def make_train_function(self, force: bool = False) -> Any:
        """See `keras.Model`; called before training, like the next two before their work."""
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

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """Return the model of a `get_config` dict, with new weights."""
        config = dict(config)
        trainable = config.pop("trainable", True)
        for part in cls.keras_parts:
            config[part] = keras.saving.deserialize_keras_object(
                config[part], custom_objects=custom_objects
            )
        model: Any = cls(**config)
        model.trainable = trainable
        return model
