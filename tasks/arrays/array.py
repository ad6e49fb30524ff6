"""The type of an array of any library that implements the Array API: no static type covers them all."""

from typing import Any, TypeAlias

Array: TypeAlias = Any
"""A floating-point array, unless said otherwise. All arrays of a call are of one library and on one device."""
