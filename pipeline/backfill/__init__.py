"""Writes to its store what a sweep could not write."""
