"""Pictures: montages of results, maps of a gallery, curves of a training run."""
