"""A package of one's own to start from: a training function as a task, a preset and a test."""
