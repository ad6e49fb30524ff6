import numpy as np
import pytest

from tasks.studies.curves import Curves


@pytest.mark.parametrize("cuts", [[], [3], [1, 2, 5, 11], [4, 8], [6, 7, 10], [9, 12]])
def test_points_are_the_means_since_the_last_point_however_the_steps_are_cut(cuts):
    # given a measure of 13 steps of two trials, where some steps have none
    values = np.arange(26.0).reshape(13, 2) ** 2
    values[[1, 5, 6, 7], 0] = np.nan
    windows = [values[0:4], values[4:8], values[8:12], values[12:13]]
    curves, points = Curves(every=4), []
    # when they arrive in stretches, between which the curves are kept in a checkpoint
    for start, stop in zip([0, *cuts], [*cuts, 13], strict=True):
        steps, means = curves.extend(start, {"loss": values[start:stop]}, final=stop == 13)
        points += zip(steps.tolist(), means["loss"].tolist(), strict=True)
        curves = Curves.resumed(4, curves.state())
    # then a step without a measure does not count
    assert [step for step, _ in points] == [4, 8, 12, 13]
    np.testing.assert_allclose([mean for _, mean in points], [np.nanmean(window, axis=0) for window in windows])
