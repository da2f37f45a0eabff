"""A page in the browser to search a folder of images with."""

from dolg_zoo.serving.desk import Added, SearchDesk

__all__ = ["Added", "SearchDesk"]
