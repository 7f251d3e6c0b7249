"""State space models for images."""
