"""Reproduction: recorded trials are run again, and compared with their record."""
