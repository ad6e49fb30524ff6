import numpy as np
import pytest

from tasks.arrays import products
from tasks.arrays.devices import HOST_BLOCKS
from tasks.arrays.products import (
    Panel,
    layout_of,
    panel_of,
    panel_of_descent,
    places_in_panels,
    product,
    scores_of_blocks,
    scores_of_units,
)
from tasks.datasets.synthetic import Synthetic
from tasks.events import Curve
from tasks.strategies import RandomSearch
from tasks.studies.train import Train
from tasks.trial import Trial
from tests.tasks.kernels import OTHERS, assert_same_bits_with, skip_without

PLACES = (slice(0, 1), slice(1, 2), slice(5, 9), slice(12, 13), slice(2, 13))


@pytest.mark.parametrize("classes", [10, 3, 1, 12])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("examples", "features"), [(64, 65), (256, 3073), (1808, 3073), (1, 65), (7, 38)])
def test_a_unit_has_the_same_bits_alone_and_anywhere_among_others(dtype, examples, features, classes):
    skip_without(panel_of(dtype, max(2, examples), features))
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(examples, features)).astype(dtype)
    units = rng.normal(size=(13, classes, features)).astype(dtype)
    together = scores_of_units(units, matrix)
    for part in PLACES:
        np.testing.assert_array_equal(scores_of_units(units[part], matrix), together[part])
    np.testing.assert_allclose(together, units @ matrix.T, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize(
    ("examples", "features", "transposed"), [(2048, 3073, True), (905, 801, True), (65, 4097, False)]
)
def test_rows_have_the_same_bits_by_few_columns_as_by_all(examples, features, transposed, monkeypatch):
    probed = panel_of("float32", examples, features, transposed=transposed)

    monkeypatch.setattr(products, "_TILES", 10**6)

    assert panel_of.__wrapped__("float32", examples, features, transposed=transposed) == probed


@pytest.mark.parametrize(("examples", "features"), [(64, 65), (256, 3073), (1, 65), (64, 3073)])
def test_rows_that_are_laid_out_once_have_the_same_bits_in_both_products_of_a_descent(examples, features):
    panel = panel_of_descent(np.empty(0, "f4"), [examples], features)
    skip_without(panel)
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(examples, features)).astype("f4")
    weights, slopes = (rng.normal(size=(13, 10, inner)).astype("f4") for inner in (features, examples))

    def products(part):
        layout = layout_of(len(weights[part]), 10, panel)
        rows, slope_rows = layout.rows(weights[part]), layout.rows(slopes[part])
        return layout.units(product(rows, matrix.T)), layout.units(product(slope_rows, matrix))

    scores, combinations = products(slice(None))
    for part in PLACES:
        some_scores, some_combinations = products(part)
        np.testing.assert_array_equal(some_scores, scores[part])
        np.testing.assert_array_equal(some_combinations, combinations[part])
    np.testing.assert_allclose(scores, weights @ matrix.T, rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(combinations, slopes @ matrix, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("examples", "features"),
    [(63, 2), (48, 3), (32, 5), (2, 785), (16, 65), (64, 65), (250, 65), (16, 785), (64, 3073)],
)
def test_a_unit_has_the_same_bits_among_few_others_and_many(dtype, examples, features):
    # given products that are small with few units, for which a BLAS may have kernels of their own, and large with many
    panel = panel_of_descent(np.empty(0, dtype), [examples], features)
    skip_without(panel)
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(examples, features)).astype(dtype)
    weights, slopes = (rng.normal(size=(130, 10, inner)).astype(dtype) for inner in (features, examples))

    def products(count):
        layout = layout_of(count, 10, panel)
        rows, slope_rows = layout.rows(weights[:count]), layout.rows(slopes[:count])
        return layout.units(product(rows, matrix.T)), layout.units(product(slope_rows, matrix))

    scores, combinations = products(130)
    together = scores_of_units(weights, matrix)
    for count in (1, 2, 7, 26, 60):
        # then every number of them gives the same bits
        some_scores, some_combinations = products(count)
        np.testing.assert_array_equal(some_scores, scores[:count])
        np.testing.assert_array_equal(some_combinations, combinations[:count])
        np.testing.assert_array_equal(scores_of_units(weights[:count], matrix), together[:count])


@pytest.mark.parametrize("kernel", OTHERS)
def test_the_same_holds_with_every_kernel_of_the_blas(kernel):
    assert_same_bits_with(kernel, __file__)


@pytest.mark.parametrize("panel", [Panel(12, 6), Panel(12, 12), Panel(8, 2), None])
@pytest.mark.parametrize("units", [1, 6])
def test_a_layout_gives_back_what_was_laid_out_among_zeros(units, panel):
    layout = layout_of(units, 10, panel)
    laid_out = np.random.default_rng(0).normal(size=(units, 10, 3))
    rows = layout.rows(laid_out)
    assert rows.shape == (layout.height, 3)
    assert np.count_nonzero(rows) == laid_out.size
    np.testing.assert_array_equal(layout.units(rows), laid_out)
    np.testing.assert_array_equal(layout.units(rows[:, 0]), laid_out[..., 0])
    np.testing.assert_array_equal(layout.units(layout.owners()), np.repeat(np.arange(units)[:, None], 10, axis=1))


@pytest.mark.parametrize("panel", [Panel(12, 6), Panel(12, 12), Panel(8, 2), Panel(4, 1), Panel(1, 1)])
@pytest.mark.parametrize("rows", [1, 3, 10, 25])
@pytest.mark.parametrize("units", [1, 5, 6, 13])
def test_a_row_of_every_unit_has_places_of_one_kind_and_few_stay_empty(units, rows, panel):
    places, height = places_in_panels(units, rows, panel)
    assert places.shape == (units, rows)
    assert len(set(places.ravel().tolist())) == units * rows
    assert places.min() == 0
    assert places.max() < height
    assert height % panel.rows == 0
    runs = places % panel.rows // panel.run
    assert (runs == runs[0]).all()
    # a place or less of every run for each unit, but for the last panel
    assert height < units * (rows + panel.rows // panel.run) + panel.rows


def test_ten_classes_of_six_trials_fill_five_panels():
    assert places_in_panels(6, 10, Panel(12, 6))[1] == 60


def test_the_rows_of_a_block_have_the_same_bits_whatever_follows_them():
    skip_without(panel_of("float32", 64, 3073))
    rng = np.random.default_rng(0)
    matrix, blocks = rng.normal(size=(64, 3073)).astype("f4"), rng.normal(size=(2, 110, 3073)).astype("f4")
    whole = scores_of_blocks(blocks, matrix)
    for rows in (1, 10, 36, 70):
        np.testing.assert_array_equal(scores_of_blocks(blocks[:, :rows], matrix), whole[:, :rows])
    np.testing.assert_allclose(whole, blocks @ matrix.T, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("rest", [1, 7, 60])
def test_a_search_has_the_same_bits_alone_and_among_others_though_the_last_block_of_examples_is_small(rest):
    # given examples that leave a few for the last block, and a search alone, whose blocks of steps are long
    dataset = Synthetic(examples=HOST_BLOCKS.examples + rest, features=30, classes=5, validation=0).load()
    skip_without(panel_of("float32", max(2, rest), 31))
    settings = {"strategy": RandomSearch(), "batch_size": None, "steps": 100, "record_every": 1}
    trials = [Trial(task=Train(), seed=seed, **settings) for seed in range(50)]
    alone, together = (
        {event.trial: event for event in Train().run(group, dataset, threads=1) if isinstance(event, Curve)}
        for group in (trials[:1], trials)
    )
    # then its losses are the same among many, whose blocks are short
    for name, values in alone[0].metrics.items():
        np.testing.assert_array_equal(together[0].metrics[name], values)


def test_other_units_do_not_matter_even_if_they_are_nan():
    rng = np.random.default_rng(0)
    matrix, units = rng.normal(size=(64, 65)).astype("f4"), rng.normal(size=(4, 6, 65)).astype("f4")
    clean = scores_of_units(units, matrix)
    units[2] = np.nan
    spoilt = scores_of_units(units, matrix)
    np.testing.assert_array_equal(spoilt[[0, 1, 3]], clean[[0, 1, 3]])
    assert np.isnan(spoilt[2]).all()
