"""The output of a trial's own code: of a long one only the start and the end."""

from __future__ import annotations

from collections import deque

LONGEST_OUTPUT = 1_000_000
"""The characters of a trial's output that are kept: half from its start, half from its end."""

_HALF = LONGEST_OUTPUT // 2
_LEFT_OUT = "\n... what was printed here is left out ...\n"


class TrialOutput:
    """Collects a trial's output: of more than `LONGEST_OUTPUT` characters only the start and the end.

    The texts are kept as they come: the trials of a group, which may be a thousand, all have the same ones.
    """

    def __init__(self) -> None:
        self._start: list[str] = []
        self._end: deque[str] = deque()
        self._total = self._at_end = 0  # characters, of all that was printed and of the kept end

    @property
    def starting(self) -> bool:
        """Whether what is printed next belongs to the start."""
        return self._total < _HALF

    def add(self, text: str) -> None:
        """Add what was printed next."""
        starting, self._total = self.starting, self._total + len(text)
        if starting:
            self._start.append(text)
            return
        self._end.append(text)
        self._at_end += len(text)
        while self._at_end - len(self._end[0]) >= _HALF:
            self._at_end -= len(self._end.popleft())

    def end(self) -> list[str]:
        """Return the texts that follow the start."""
        return [*self._end] if self._total <= LONGEST_OUTPUT else [_LEFT_OUT, *self._end]

    def text(self) -> str:
        """Return the output."""
        text = "".join([*self._start, *self._end])
        return text if self._total <= LONGEST_OUTPUT else f"{text[:_HALF]}{_LEFT_OUT}{text[-_HALF:]}"
