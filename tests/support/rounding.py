"""`--rounding SEED`: the arithmetic of a processor that rounds otherwise.

Each result of a primitive that processors compute differently (a product of matrices, a
convolution, a reduction, an approximation such as exp or rsqrt) is moved by up to two units in its
last place: a relative 4 · 2^-24 in float32. TensorFlow is changed where Python hands it an
operation, so functions of TensorFlow run eagerly; what is compiled with XLA, a data set's
`map`, LiteRT and OpenVINO stay as they are. NumPy is changed in its products and sums, also where
the package writes `a @ b`.

How far a result moves depends on the seed and on the result, so the same computation gives the
same result twice, as on a processor. A sum or product that needs few bits of its mantissa
(1.0, 0.5, 37.0) is exact in any order, and stays; an approximation moves also from there.
"""

from __future__ import annotations

import ast
import functools
import importlib.abc
import importlib.machinery
import sys
import zlib
from collections.abc import Callable, Sequence
from types import CodeType, ModuleType
from typing import Any

import numpy as np
import pytest

UNITS = 2
"""The most units in the last place that a result moves."""

SUMS = frozenset(
    {"MatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum", "Sum", "Mean", "L2Loss", "AvgPool"}
    | {"Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter", "DepthwiseConv2dNative"}
    | {"DepthwiseConv2dNativeBackpropInput", "DepthwiseConv2dNativeBackpropFilter"}
    | {"FusedBatchNormV3", "ResizeBilinear"}
)
"""TensorFlow's operations whose result is a sum of products."""

APPROXIMATIONS = frozenset(
    {"Rsqrt", "Exp", "Expm1", "Log", "Log1p", "Pow", "Tanh", "Sigmoid", "Softplus", "Softmax"}
    | {"LogSoftmax", "Sin", "Cos", "Acos", "Erf"}
)
"""TensorFlow's operations that a processor approximates."""

# bits of the mantissa, and how many of them are 0 at the end of a value that is taken for exact
_BITS = {"float32": (23, 12), "float16": (10, 5), "bfloat16": (7, 3)}


def moved(values: np.ndarray, seed: int, exact_stay: bool) -> np.ndarray:
    """Return the factors, of the values' shape and type, that move them in their last places."""
    bits, zeros = _BITS[values.dtype.name]
    contiguous = np.ascontiguousarray(values)
    patterns = contiguous.view(f"u{values.itemsize}").reshape(values.shape)
    rng = np.random.default_rng([seed, zlib.crc32(contiguous.view("u1").data)])
    units = rng.integers(-UNITS, UNITS + 1, values.shape, np.int8)
    if exact_stay:
        units[patterns % (1 << zeros) == 0] = 0
    return (1 + units * np.float32(2.0**-bits)).astype(values.dtype)


def round_tensorflow(seed: int) -> None:
    """Move the results of TensorFlow's operations from now on."""
    import tensorflow as tf
    from tensorflow.python import pywrap_tfe
    from tensorflow.python.eager import execute

    fast, slow = pywrap_tfe.TFE_Py_FastPathExecute, execute.execute

    def rounded(result: Any, name: str, multiply: Callable[[Any, Any], Any]) -> Any:
        if isinstance(result, list | tuple):
            return [rounded(result[0], name, multiply), *result[1:]]
        if getattr(result, "dtype", None) is None or result.dtype.name not in _BITS:
            return result
        values = result.numpy()
        return multiply(result, moved(values, seed, name in SUMS)) if values.size else result

    @functools.wraps(fast)
    def fast_path(context: Any, name: str, *arguments: Any) -> Any:
        result = fast(context, name, *arguments)
        if name not in SUMS and name not in APPROXIMATIONS:
            return result
        return rounded(result, name, lambda a, b: fast(context, "Mul", None, a, tf.constant(b)))

    @functools.wraps(slow)
    def slow_path(operation: Any, *arguments: Any, **options: Any) -> Any:
        results = slow(operation, *arguments, **options)
        name = operation.decode() if isinstance(operation, bytes) else operation
        if name not in SUMS and name not in APPROXIMATIONS:
            return results
        # the caller puts the operation on the tapes, with these as its results
        return rounded(results, name, lambda a, b: tf.constant(a.numpy() * b))

    pywrap_tfe.TFE_Py_FastPathExecute, execute.execute = fast_path, slow_path
    tf.config.run_functions_eagerly(True)


def round_numpy(seed: int) -> None:
    """Move the results of NumPy's products and sums from now on."""
    from numpy._core import _methods

    def rounding(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def rounded(*arguments: Any, **options: Any) -> Any:
            result = function(*arguments, **options)
            if getattr(result, "dtype", None) is None or result.dtype.name not in _BITS:
                return result
            factors = moved(np.asarray(result), seed, exact_stay=True)
            if isinstance(result, np.ndarray):
                result *= factors  # which may be the caller's own `out`
                return result
            return result * factors[()]

        return rounded

    for owner, names in (
        (np, ("matmul", "dot", "einsum", "tensordot", "inner")),
        (np.linalg, ("norm",)),
        (_methods, ("umr_sum",)),
    ):
        for name in names:
            setattr(owner, name, rounding(getattr(owner, name)))
    sys.meta_path.insert(0, _Products())


class _Products(importlib.abc.MetaPathFinder):
    """Imports the package with each `a @ b` as a call of `numpy.matmul`, which can be replaced."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name.partition(".")[0] != "dolg_zoo":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec and type(spec.loader) is importlib.machinery.SourceFileLoader:
            spec.loader = _ProductsLoader(name, spec.loader.path)
        return spec


class _ProductsLoader(importlib.machinery.SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        tree = ast.parse(self.get_data(self.path), self.path)
        tree = ast.fix_missing_locations(_AsCalls().visit(tree))
        return compile(tree, self.path, "exec", dont_inherit=True)


class _AsCalls(ast.NodeTransformer):
    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.op, ast.MatMult):
            return node
        call = ast.parse("__import__('numpy').matmul(0, 0)", mode="eval").body
        assert isinstance(call, ast.Call)
        call.args = [node.left, node.right]
        return ast.copy_location(call, node)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption(
        "--rounding", type=int, metavar="SEED", help="compute as a processor that rounds otherwise"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Change the arithmetic before anything is imported that keeps a function of it."""
    seed = config.getoption("--rounding")
    if seed is not None:
        round_numpy(seed)
        round_tensorflow(seed)
