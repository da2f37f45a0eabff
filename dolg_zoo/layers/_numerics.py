from keras import backend


def wide_dtype(dtype: str) -> str:
    """Return the dtype for sums of squares, powers or many positions: at least float32."""
    return backend.result_type(dtype, "float32")
