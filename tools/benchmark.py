"""How fast is dolg-zoo, how much memory does it take, and beside what?

    python tools/benchmark.py inference --json figures.json --photos PHOTOS
    python tools/benchmark.py training --rounds 9
    python tools/benchmark.py load --rounds 5
    python tools/benchmark.py start PHOTOS
    python tools/benchmark.py retrieval --json retrieval.json
    python tools/benchmark.py table docs/benchmarks/inference_avx512.json

Whatever is compared is timed turn by turn in one run, and what other processes took of the cores
meanwhile is written down beside it. Each part's --help says what it does; `table` prints the
tables of docs/reports/speed.md.
"""

import argparse

from benchmarks import inference, load, retrieval, start, table, training

PARTS = {
    "inference": inference,
    "training": training,
    "load": load,
    "start": start,
    "retrieval": retrieval,
    "table": table,
}


def main():
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parts = parser.add_subparsers(dest="part", required=True)
    for name, part in PARTS.items():
        summary = part.__doc__.partition("\n")[0]
        part.add_arguments(
            parts.add_parser(name, help=summary, description=part.__doc__, formatter_class=layout)
        )
    arguments = parser.parse_args()
    PARTS[arguments.part].run(arguments)


if __name__ == "__main__":
    main()
