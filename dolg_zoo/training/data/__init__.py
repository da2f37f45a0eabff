"""Labelled images: their sources, the validation split, and the order of training."""

from dolg_zoo.errors import DataError
from dolg_zoo.training.data.decoding import Batches, random_resized_crop
from dolg_zoo.training.data.examples import Examples
from dolg_zoo.training.data.load import load_split
from dolg_zoo.training.data.order import batch_indices, steps_per_epoch
from dolg_zoo.training.data.sources import from_folder, load_examples
from dolg_zoo.training.data.split import split
from dolg_zoo.training.data.tables import from_csv, from_gldv2
from dolg_zoo.training.data.tfds import from_tfds

__all__ = [
    "Batches",
    "DataError",
    "Examples",
    "batch_indices",
    "from_csv",
    "from_folder",
    "from_gldv2",
    "from_tfds",
    "load_examples",
    "load_split",
    "random_resized_crop",
    "split",
    "steps_per_epoch",
]
