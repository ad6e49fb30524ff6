"""Writes to a store what it lacks of a sweep."""
