"""Arrays: devices, products with reproducible bits, stacked rows, random streams."""
