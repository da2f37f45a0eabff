"""Models that turn images into descriptors: in Keras, or compiled."""
