"""The mathematics of optimisation: arrays in, arrays out, many trials at once."""
