"""Descriptors of many images: sources of images, the store, the engines that compute."""
