"""Descriptors of many images: image sources, the descriptor store, the engines that embed."""
