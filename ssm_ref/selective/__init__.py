"""Selective state space models: selective scan, Mamba, state space duality, Mamba-2, Mamba-3."""
