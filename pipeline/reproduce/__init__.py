"""Recorded trials run again, and compared with their record."""
