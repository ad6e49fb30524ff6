"""A loss, an optimiser and a data set of floating-point features, for the fused core of descent-sweeps."""
