"""State space duality, the operator of Mamba-2, in Triton."""
