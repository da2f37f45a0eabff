from keras import backend


def wide_dtype(dtype: str) -> str:
    """The dtype to sum squares, powers or many places in: never narrower than float32."""
    return backend.result_type(dtype, "float32")
