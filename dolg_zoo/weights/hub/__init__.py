"""Between this project and huggingface_hub: what it is asked, and what it is kept from doing."""
