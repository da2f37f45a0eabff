"""The tables of docs/reports/speed.md, from the JSON file that `inference --json` wrote.

python tools/benchmark.py table docs/benchmarks/inference_avx512.json
"""

import json
from pathlib import Path


def add_arguments(parser):
    parser.add_argument("json", type=Path, help="what inference --json wrote")


def run(arguments):
    print(marked(arguments.json))


def marked(file):
    """The tables between two comments, by which a document's copy is found."""
    tables = markdown(json.loads(file.read_text()))
    return f"<!-- {file.stem}: begin -->\n{tables}\n<!-- {file.stem}: end -->"


def markdown(found):
    """Times as fast as PyTorch in eager mode, for each route that was available."""
    network = found["network"]
    parts = [table(f"{network['architecture']}, random weights", network)]
    missing = list(network["missing"])
    if "end to end" in found:
        whole = found["end to end"]
        missing += [route for route in whole["missing"] if route not in missing]
        title = f"embedded preset, {whole['photographs']} JPEG files to descriptors"
        parts.append(table(title, whole))
    parts.append(
        f"{found['processor']}, {found['cores']} cores; medians of {found['rounds']} rounds in"
        " turn, seconds (min to max)."
        + (f" Not available on this machine: {'; '.join(missing)}." if missing else "")
    )
    return "\n\n".join(parts)


def table(title, part):
    """One table; a column for each setting."""
    settings = part["settings"]
    noisy = {name: setting["seconds"]["noisy rounds"] for name, setting in settings.items()}
    heads = [
        name + ("" if noisy[name].startswith("0 ") else f" ({noisy[name]} rounds noisy)")
        for name in settings
    ]
    lines = [f"| {title} | " + " | ".join(heads) + " |", "| --- " * (len(heads) + 1) + "|"]
    for route in next(iter(settings.values()))["times as fast"]:
        cells = [cell(setting, route) for setting in settings.values()]
        lines.append(f"| {route} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell(setting, route):
    times = setting["seconds"][route]
    spread = f"{times['median']:.3f} ({times['min']:.3f} to {times['max']:.3f})"
    return f"{setting['times as fast'][route]:.2f}×, {spread}"
