"""The rows of a config group that trials differ by."""


def rows(*names):
    """Return the changes that give trials these strategies."""
    return [{"strategy": {"name": name}} for name in names]
