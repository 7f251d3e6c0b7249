"""Structured state space layers: HiPPO, S4, S4D, S5."""
