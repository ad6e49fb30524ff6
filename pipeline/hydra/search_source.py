"""The proposals of a search as the jobs and points that a sweep computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future

from pipeline.background import in_background
from pipeline.hydra.folders import write_folders
from pipeline.hydra.job_context import StartedJob
from pipeline.plan.plan import Point
from pipeline.search.proposals import Proposals
from pipeline.search.search import Proposal


class SearchSource:
    """A source of a search's proposals: ``begin`` starts a proposal as a job.

    ``examples`` are points at the ends of its space. ``jobs`` are those that have started. The ``first`` point is
    proposed at once, since it holds the config that all share. All other members are those of the proposals.
    """

    def __init__(
        self, proposals: Proposals, begin: Callable[[Proposal], StartedJob], examples: Sequence[Point]
    ) -> None:
        self._proposals, self._begin = proposals, begin
        self.identity, self.keys, self.objectives = proposals.identity, proposals.search.keys, proposals.objectives
        self.scale_to, self.recall = proposals.scale_to, proposals.recall
        self.tell, self.news, self.describe = proposals.tell, proposals.news, proposals.describe
        self.examples = examples
        self._written: Future[None] = in_background(lambda: None)
        self.jobs: list[StartedJob] = []
        self._first = self._points(proposals.more(1))
        self.first = self._first[0]

    @property
    def total(self) -> int:
        """How many points the search proposes in all."""
        return self._proposals.total

    @property
    def done(self) -> bool:
        """Whether no more points will come."""
        return not self._first and self._proposals.done

    def more(self, room: int) -> Sequence[Point]:
        """Return the points to compute next, about ``room`` of them at most."""
        first, self._first = self._first, []
        if not room:
            return first
        # What a dry run plans is proposed together, although there may be no room for all repeats of it.
        planned = self._proposals.before_learning - self._proposals.search.asked
        return [*first, *self._points(self._proposals.more(max(room - len(first), planned)))]

    def close(self) -> None:
        """Wait until the files of the jobs are written."""
        self._written.result()

    def _points(self, proposals: Sequence[Proposal]) -> list[Point]:
        jobs = [self._begin(one) for one in proposals]
        self.jobs += jobs
        points = [one.job.point(one.values) for one in jobs]
        if points and not points[0].config.sweep.dry_run:
            self._write(jobs, together=self.total > points[0].config.sweep.job_folders)
        return points

    def _write(self, jobs: Sequence[StartedJob], *, together: bool) -> None:
        folders, before = {one.folder: one.job for one in jobs}, self._written

        def write() -> None:
            before.result()  # all batches may be written to one file
            write_folders(folders, together=together)

        self._written = in_background(write)
