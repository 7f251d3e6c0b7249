"""Names and shapes of published checkpoints, one module a family of them."""
