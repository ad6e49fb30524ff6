"""The order of a training's minibatches."""

import numpy as np

from tasks.arrays.random_streams import stream
from tasks.datasets.dataset import Split
from tasks.fused.batches import Minibatches

TEN = Split(images=np.zeros((10, 1), np.uint8), labels=np.arange(10))


def test_every_epoch_has_an_order_of_its_own_and_drops_what_fills_no_batch():
    minibatches = Minibatches(TEN, 3, 7)
    first, second = (stream(7, "data order", epoch).permutation(10) for epoch in range(2))
    # then batches 0 to 2 are the first epoch's, also when it is gone back to
    expected = {0: first[:3], 2: first[6:9], 3: second[:3], 5: second[6:9], 1: first[3:6]}
    for number, index in expected.items():
        np.testing.assert_array_equal(minibatches.at(number).index, index)


def test_a_batch_of_all_examples_has_them_in_their_own_order():
    for size in (10, None):
        batch = Minibatches(TEN, size, 7).at(3)
        assert batch.index is None
        assert len(batch) == Minibatches(TEN, size, 7).batch_size == 10
        (block,) = batch.blocks(20)
        np.testing.assert_array_equal(block.labels, TEN.labels)
