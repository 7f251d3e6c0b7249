"""Selective scan in Triton: forward and backward, with the contract of its definition."""
