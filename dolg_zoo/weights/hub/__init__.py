"""The use of huggingface_hub, and the limits set to it."""
