"""A number of a result as text."""

from __future__ import annotations

_ALL_WHOLE = 2**24
"""From here on every float32 is whole, such as the loss of a diverging trial, of which few digits matter."""


def number(value: float, digits: int = 4, *, sign: str = "") -> str:
    """Return a number in so many significant digits, a whole one in all of its digits; ``sign`` may be a plus.

    >>> number(0.123456), number(12345.6), number(12800.0), number(3e7), number(2, sign="+")
    ('0.1235', '1.235e+04', '12800', '3e+07', '+2')
    """
    whole = float(value).is_integer() and abs(value) < _ALL_WHOLE
    return format(value, f"{sign}.0f" if whole else f"{sign}.{digits}g")
