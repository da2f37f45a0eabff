import h5py
import numpy as np
import pytest


@pytest.fixture(scope="module")
def tool(load_tool):
    return load_tool("fit_embedded_head")


def test_half_whitening_leaves_the_square_roots_of_the_variances(tool, rng):
    x = rng.standard_normal((500, 6)) @ rng.standard_normal((6, 6)) + 3
    kernel, bias = tool.half_whitening(x, 4)
    projected = x @ kernel + bias
    covariance = projected.T @ projected / len(x)
    variances = np.sort(np.linalg.eigvalsh(np.cov(x.T, bias=True)))[::-1][:4]
    assert np.allclose(projected.mean(axis=0), 0, atol=1e-9)
    assert np.allclose(covariance, np.diag(np.sqrt(variances)), atol=1e-9)


def test_ridge_minimises_error_and_penalty(tool, rng):
    x, y = rng.standard_normal((200, 5)) + 1, rng.standard_normal((200, 3))
    kernel, bias = tool.ridge(x, y)
    centred = x - x.mean(axis=0)
    penalty = tool.RIDGE * np.trace(centred.T @ centred / 200) / 5

    def cost(kernel):
        return np.mean(np.sum((x @ kernel + bias - y) ** 2, axis=1)) + penalty * np.sum(kernel**2)

    best = cost(kernel)
    for _ in range(20):
        moved = kernel + 1e-3 * rng.standard_normal(kernel.shape)
        bias_kept = y.mean(axis=0) - x.mean(axis=0) @ moved
        error = np.mean(np.sum((x @ moved + bias_kept - y) ** 2, axis=1))
        assert error + penalty * np.sum(moved**2) > best


def test_compact_halves_kernels_and_keeps_vectors(tool, tmp_path, rng):
    kernel = rng.standard_normal((4, 3)).astype(np.float16).astype("float32")
    vector = rng.standard_normal(3).astype("float32")
    with h5py.File(tmp_path / "whole.h5", "w") as file:
        file["layers/a/vars/0"], file["layers/a/vars/1"] = kernel, vector
    tool.compact(tmp_path / "whole.h5", tmp_path / "small.h5")
    with h5py.File(tmp_path / "small.h5") as file:
        assert file["layers/a/vars/0"].dtype == np.float16
        assert np.array_equal(file["layers/a/vars/0"], kernel)
        assert np.array_equal(file["layers/a/vars/1"], vector)


def test_says_how_many_photographs_it_needs(tool, tmp_path, monkeypatch, capsys):
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "one.png")
    arguments = ["fit", "--backbone", "x.weights.h5", "--photos", str(tmp_path)]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit):
        tool.main()
    assert "need more than 1 photographs" in capsys.readouterr().err
