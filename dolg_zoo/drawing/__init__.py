"""Draw montages of results, maps of a gallery, and curves of a training run."""
