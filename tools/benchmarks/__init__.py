"""The parts of tools/benchmark.py, and the processes that they time."""
