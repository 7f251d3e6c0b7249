"""Causal depthwise convolution and its one-step update in Triton."""
