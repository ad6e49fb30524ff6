"""The command line: its entry point, and the messages of its errors."""
