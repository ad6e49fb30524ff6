"""The type of an array: of any library that has the Array API, so that no static type covers it."""

from typing import Any, TypeAlias

Array: TypeAlias = Any
"""Floating point, unless said otherwise; its library and its device are those of the arrays that come with it."""
