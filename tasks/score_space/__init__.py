"""Score space: fast paths for scores that are linear in the weights, equal to the general loops."""
