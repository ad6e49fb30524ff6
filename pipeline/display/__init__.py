"""The display of a sweep on the console."""
