"""A password of this process alone, and where it is found."""

import base64
import os

SECRET = f"pass{os.getpid()}word"  # of this process alone, since a record holds the uncommitted source of these tests


def holding(folder):
    """Return the files that hold the password, as it is or as a request's header has it."""
    forms = [SECRET.encode(), base64.b64encode(f"ann:{SECRET}".encode()).rstrip(b"=")]
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [str(path.relative_to(folder)) for path in files if any(form in path.read_bytes() for form in forms)]
