"""Arrays: on which device they live, products with reproducible bits, stacked rows, and random streams."""
