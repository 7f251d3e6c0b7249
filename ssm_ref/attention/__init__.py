"""The Transformer baseline."""
