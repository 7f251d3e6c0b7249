"""State space models for DNA."""
