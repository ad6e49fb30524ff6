"""The record of a sweep: its log, and the runs that follow from it."""
