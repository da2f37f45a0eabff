"""Downloads with huggingface_hub, and the checks of a server's answers."""
