"""State space models for time series."""
