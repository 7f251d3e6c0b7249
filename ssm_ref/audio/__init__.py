"""State space models for sound."""
