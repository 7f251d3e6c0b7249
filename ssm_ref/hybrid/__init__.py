"""Models that mix state space layers with attention and experts."""
