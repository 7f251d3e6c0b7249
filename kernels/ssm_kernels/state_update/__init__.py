"""One decode step of Mamba and Mamba-2 in Triton."""
