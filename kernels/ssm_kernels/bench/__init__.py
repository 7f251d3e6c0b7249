"""Benchmarks of every operator and every installed peer, as rows with their provenance."""
