"""Weight space: points, directions and grids in it, and plain numerical slopes, for any model."""
