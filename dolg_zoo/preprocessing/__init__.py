"""From image files to RGB arrays, equally for training and for search; needs no Keras."""

from dolg_zoo.errors import BadImageError
from dolg_zoo.preprocessing.converter import ImageConverter
from dolg_zoo.preprocessing.crop import Crop
from dolg_zoo.preprocessing.decode import ImageSource, load_image
from dolg_zoo.preprocessing.files import IMAGE_SUFFIXES, PassedOver, list_images
from dolg_zoo.preprocessing.keras_hub import keras_hub_preprocessing
from dolg_zoo.preprocessing.stream import batch_by_shape, decode_ahead

__all__ = [
    "IMAGE_SUFFIXES",
    "BadImageError",
    "Crop",
    "ImageConverter",
    "ImageSource",
    "PassedOver",
    "batch_by_shape",
    "decode_ahead",
    "keras_hub_preprocessing",
    "list_images",
    "load_image",
]
