"""The record of a sweep: what is written down, and who writes it."""
