"""Weight space, for any model: points, directions, grids, perturbations and plain numerical slopes."""
