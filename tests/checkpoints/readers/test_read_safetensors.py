import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy as library

from dolg_zoo.weights import read_state_dict

TYPES = [
    *(np.bool_, np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.uint64, np.int64),
    *(np.float16, np.float32, np.float64, np.complex64, ml_dtypes.bfloat16),
]


@pytest.fixture
def save(tmp_path):
    def write(tensors):
        path = tmp_path / "x.bin"
        library.save_file(tensors, path)
        return path

    return write


def test_tensors_of_each_type_and_shape_come_back_to_be_read(save, rng):
    sizes = {"a": (3,), "b": (0, 4), "c": (5, 7), "d": (), "e": (2, 1, 3)}
    tensors = {name: rng.normal(size=size).astype("f4") for name, size in sizes.items()}
    tensors |= {f"{name}64": np.asarray(array, "f8") for name, array in tensors.items()}
    tensors |= {kind.__name__: np.arange(6).reshape(2, 3).astype(kind) for kind in TYPES}
    arrays = read_state_dict(save(tensors))
    assert arrays.keys() == tensors.keys()
    for name, array in tensors.items():
        np.testing.assert_array_equal(arrays[name], array, strict=True)
        assert not arrays[name].flags.writeable


def test_wrapper_prefixes_are_dropped(save):
    assert list(read_state_dict(save({"module.a": np.ones(3)}))) == ["a"]


@pytest.mark.parametrize(
    "span, reason",
    [
        ({"dtype": "F32", "shape": [3], "data_offsets": [0, 16]}, "no sound safetensors"),
        ({"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 16]}, "no sound safetensors"),
        ({"dtype": "F32", "shape": [4], "data_offsets": [4, 20]}, "no sound safetensors"),
        ({"dtype": "F8_E5M2", "shape": [16], "data_offsets": [0, 16]}, "NumPy does not have"),
        ({"dtype": "F4", "shape": [32], "data_offsets": [0, 16]}, "no sound|NumPy does not have"),
        ({"dtype": "F32", "shape": [0, 2**60], "data_offsets": [0, 0]}, "no sound|of the size"),
    ],
)
def test_a_header_that_lies_is_refused(refusal, handmade, span, reason):
    import re

    assert re.search(reason, refusal(handmade.safetensors({"x": span}, bytes(16))))


def test_a_giant_header_is_not_taken_apart(refusal, handmade):
    header = {"x": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}
    data = handmade.safetensors({"__metadata__": {"": "x" * (9 << 20)}} | header, b"0")
    assert "has a header of" in refusal(data)
