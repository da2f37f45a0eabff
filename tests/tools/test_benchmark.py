import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "docs" / "benchmarks"


@pytest.fixture(scope="module")
def common(load_tool):
    return load_tool("benchmarks/common")


def test_sides_are_timed_in_turn_and_a_busy_round_is_marked(common, monkeypatch):
    order, seconds = [], iter([9, 9, 1, 4, 3, 5, 2, 9])
    others = iter([0.0, 0.0, 0.0, 100.0, 100.0, 100.0])
    monkeypatch.setattr(common, "busy", lambda processes: next(others))

    def side(name):
        def take():
            order.append(name)
            return next(seconds)

        return take

    found = common.in_turn({"a": side("a"), "b": side("b")}, rounds=3)
    assert order == ["a", "b"] * 4
    assert found["a"] == {"median": 2, "min": 1, "max": 3}  # not the first call
    assert found["b"] == {"median": 5, "min": 4, "max": 9}
    assert found["noisy rounds"] == "1 of 3"
    assert common.ratio(found, "b", "a") == 2.5


def test_the_time_of_the_processes_at_work_and_of_their_children_is_not_that_of_others(
    common, monkeypatch
):
    own = psutil.Process()
    times = type("Times", (), {"user": 100.0, "system": 20.0, "steal": 3.0})
    monkeypatch.setattr(common.psutil, "cpu_times", lambda: times)
    before, used = common.busy([own]), own.cpu_times()
    children = used.children_user + used.children_system
    assert before == pytest.approx(123 - used.user - used.system - children, abs=0.1)
    burn = "import time\nwhile time.process_time() < 1: pass"
    subprocess.run([sys.executable, "-c", burn], check=True)
    assert before - common.busy([own]) >= 0.98  # the kernel counts in ticks of 0.01 s


WORKER = """
import sys, numpy as np
from benchmarks.common import serve
def twice(x):
    print("chatter")
    return np.array([2 * x])
serve({"twice": twice, "none": "it is not installed"}, "1.0")
"""


def test_a_worker_answers_and_says_what_it_lacks(common, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tools"))
    (tmp_path / "worker.py").write_text(WORKER)
    with common.Worker([tmp_path / "worker.py"]) as worker:
        assert worker.routes == ["twice"] and worker.versions == "1.0"
        assert worker.missing == {"none": "it is not installed"}
        assert worker.run("twice", describe=True, x=21) == [42]
        assert 0 < worker.run("twice", seconds=0.05, x=1) < 0.05  # of one run, and many were made


def test_a_worker_that_ends_is_named(common, tmp_path):
    (tmp_path / "broken.py").write_text("import sys; sys.exit(3)")
    with pytest.raises(SystemExit, match=r"broken\.py ended with status 3"):
        common.Worker([tmp_path / "broken.py"])


class Fixed:
    def __init__(self, **found):
        self.routes, self.found = list(found), found

    def run(self, route, describe, **work):
        return self.found[route]


def test_routes_that_disagree_in_float32_are_not_timed(load_tool):
    tool = load_tool("benchmarks/inference")
    exact, near, far = [[1.0, 0.0]], [[1.0, 1e-5]], [[1.0, 0.01]]
    workers = [Fixed(eager=exact), Fixed(ours=near, int8=far)]
    assert tool.agreement(workers, "eager") == {"eager": 0, "ours": 1e-5, "int8": 0.01}
    with pytest.raises(SystemExit, match=r"ours are 1\.0e-02 from those of eager"):
        tool.agreement([Fixed(eager=exact, ours=far)], "eager")


def test_multiply_adds_are_those_of_the_formulas(load_tool):
    import keras

    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same")(inputs)
    x = keras.layers.DepthwiseConv2D(5, padding="same")(x)
    outputs = keras.layers.Dense(7)(keras.layers.GlobalAveragePooling2D()(x))
    counts = load_tool("benchmarks/dolg").multiply_adds(keras.Model(inputs, outputs), 16, 32)
    assert counts["16"] == 8 * 8 * 8 * 3 * 3 * 3 + 8 * 8 * 8 * 5 * 5 + 8 * 7
    assert counts["32"] == 16 * 16 * 8 * 27 + 16 * 16 * 8 * 25 + 8 * 7


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        ("sse2", ""),
        ("sse2 avx2", "AVX2"),
        ("avx2 avx512f", "AVX-512"),
        ("avx2 avx512f avx512_vnni avx512_bf16", "AVX-512, VNNI and bfloat16"),
    ],
)
def test_the_processor_is_named_with_what_makes_it_fast(common, flags, names):
    assert common.instruction_sets(flags.split()) == names


def test_the_table_has_a_row_for_each_route_and_names_what_is_missing(load_tool):
    seconds = {"median": 0.5, "min": 0.4, "max": 0.6}
    setting = {
        "seconds": {"fast": seconds, "noisy rounds": "2 of 9"},
        "times as fast": {"fast": 3.25},
    }
    network = {
        "architecture": "DOLG-R50",
        "missing": {"slow": "not\ninstalled"},
        "settings": {"224×224, batch 8": setting},
    }
    found = {"network": network, "processor": "a CPU", "cores": 2, "rounds": 9}
    lines = load_tool("benchmarks/table").markdown(found).splitlines()
    assert lines[0] == "| DOLG-R50, random weights | 224×224, batch 8 (2 of 9 rounds noisy) |"
    assert "| fast | 3.25×, 0.500 (0.400 to 0.600) |" in lines
    assert lines[-1].endswith("Not available on this machine: slow.")
    assert "not installed" not in "".join(lines)


@pytest.mark.parametrize("processor", ["avx512", "avx2"])
def test_the_tables_of_the_documents_are_those_of_the_figures(load_tool, processor):
    shown = load_tool("benchmarks/table").marked(KEPT / f"inference_{processor}.json")
    assert shown in (ROOT / "docs" / "reports" / "speed.md").read_text()


def test_the_table_of_the_readme_is_of_the_figures():
    found = json.loads((KEPT / "inference_avx512.json").read_text())
    network = found["network"]["settings"]["224×224, batch 8"]["times as fast"]
    files = found["end to end"]["settings"]["short side 256, batch 16"]["times as fast"]
    readme = (ROOT / "README.md").read_text()
    for row, route in (
        ("Keras", "Keras, tf.function"),
        ("LiteRT float32", "LiteRT float32"),
        ("OpenVINO float32", "OpenVINO float32"),
        ("OpenVINO bfloat16", "OpenVINO bfloat16"),
        ("OpenVINO int8", "OpenVINO int8"),
    ):
        assert f"| {row} | {network[route]:.2f}× | {files[route]:.2f}× |" in readme
    assert f"an {found['processor']}, {found['cores']} cores" in readme


def test_the_first_answers_of_the_document_are_of_the_figures():
    page = (ROOT / "docs" / "reports" / "speed.md").read_text()
    found = json.loads((KEPT / "start_avx512.json").read_text())["seconds"]
    for row, name in (
        ("`dolg demo`", "demo"),
        ("first `dolg search`", "first search"),
        ("second `dolg search`", "second search"),
        ("one photograph with `dolg_zoo.embedder()`", "one photograph in Python"),
        ("`dolg explain`", "explain"),
        ("`dolg map`", "map"),
    ):
        assert f"| {row} | {found[name]['median']:.2f} |" in page


@pytest.mark.slow
def test_inference_is_timed_beside_pytorch(load_tool, monkeypatch, tmp_path, photos):
    for module in ("torch", "efficientnet_lite_pytorch"):
        pytest.importorskip(module)
    monkeypatch.setenv("DOLG_ZOO_CACHE", str(tmp_path / "unused"))
    tool, out = load_tool("benchmark"), tmp_path / "found.json"
    monkeypatch.setattr(tool.PARTS["inference"], "TURN", 0.02)
    monkeypatch.setattr(tool.PARTS["inference"], "GEMM", 512)
    options = ["--settings=64x2", "--runtimes=keras", "--rounds=1", "--photos", str(photos)]
    arguments = ["benchmark.py", "inference", *options, "--json", str(out)]
    monkeypatch.setattr("sys.argv", arguments)
    tool.main()
    found = json.loads(out.read_text())
    (setting,) = found["network"]["settings"].values()
    eager, ours = (setting["seconds"][name] for name in ("PyTorch, eager", "Keras, frozen"))
    assert setting["times as fast"]["Keras, frozen"] == pytest.approx(
        eager["median"] / ours["median"], abs=0.02
    )
    assert np.isclose(setting["times as fast"]["PyTorch, eager"], 1)
    assert found["end to end"]["photographs"] == 4
    for part in found["end to end"]["settings"].values():
        assert part["distance from the original"]["Keras, frozen"] <= 1e-4


@pytest.mark.slow
def test_start_and_memory_are_measured_by_runtime(load_tool, monkeypatch, tmp_path):
    pytest.importorskip("openvino")
    monkeypatch.setenv("DOLG_ZOO_CACHE", str(tmp_path / "unused"))
    options = ["--rounds=1", "--runtimes=openvino", "--size=64"]
    options += ["--imports", "dolg_zoo", "--backbone=efficientnet_lite_b0"]
    options += ["--json", str(tmp_path / "found.json")]
    monkeypatch.setattr("sys.argv", ["benchmark.py", "load", *options])
    load_tool("benchmark").main()
    found = json.loads((tmp_path / "found.json").read_text())
    first = found["start"]["seconds"]["first descriptor, openvino"]["median"]
    parts = found["start"]["least seconds of each part"]["openvino"]
    assert sum(parts.values()) <= first + 1e-3
    assert found["memory, MiB"]["openvino"] > 50 < found["memory, MiB"]["OpenVINO alone"]


@pytest.mark.slow
def test_commands_are_timed_and_one_that_ends_otherwise_than_it_should_is_said(
    load_tool, monkeypatch, tmp_path, photos
):
    out = tmp_path / "found.json"
    options = ["--only", "help", "info of a misspelt preset", "--rounds=1", "--json", str(out)]
    monkeypatch.setattr("sys.argv", ["benchmark.py", "start", str(photos), *options])
    tool = load_tool("benchmark")
    tool.main()
    found = json.loads(out.read_text())
    assert found["photographs"] == 4
    assert 0.05 < found["seconds"]["help"]["min"] <= found["seconds"]["help"]["max"] < 60
    monkeypatch.setitem(tool.PARTS["start"].COMMANDS, "help", (["-c", "exit(3)"], 0))
    with pytest.raises(SystemExit, match="help ended with 3, not 0"):
        tool.main()
