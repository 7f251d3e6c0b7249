"""Readable PyTorch definitions of state space models and their relatives.

Import the module you need (`from ssm_ref.selective.mamba import Mamba`): this package loads
nothing, so importing it costs nothing and an edit to one model invalidates only its own pages.
"""
