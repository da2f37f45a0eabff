"""What turns images into descriptors: a Keras model, or what one was compiled to."""
