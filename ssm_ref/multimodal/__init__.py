"""State space language models that read images and sound."""
