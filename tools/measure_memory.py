"""Does the memory of a long job grow? Embeds one folder again and again and prints as it goes.

python tools/measure_memory.py PHOTOS --images 10000
"""

import argparse
import itertools
import time
from pathlib import Path

import psutil

import dolg_zoo
from dolg_zoo.preprocessing import list_images


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=10_000)
    arguments = parser.parse_args()
    process = psutil.Process()
    model = dolg_zoo.DOLG.from_preset()
    stream = itertools.islice(itertools.cycle(list_images(arguments.folder)), arguments.images)
    begin = time.monotonic()
    for done, _ in enumerate(model.embed_each(stream), start=1):
        if done % (arguments.images // 10) == 0:
            resident = process.memory_info().rss / 2**20
            rate = done / (time.monotonic() - begin)
            print(
                f"{done:8} images  {resident:7.0f} MiB resident  {rate:5.1f} images/s", flush=True
            )


if __name__ == "__main__":
    main()
