"""Gated RMSNorm in Triton."""
