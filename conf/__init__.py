"""What varies: the config groups, one choice a file, each opening with the command that uses it."""
