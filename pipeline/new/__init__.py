"""Writes a new package to start from: a training function as a task, a preset and a test."""
