"""Files of a record can be read back, hold no address, and are refused when they were changed."""

import dataclasses

import numpy as np
import pytest

from pipeline.errors import RecordError
from pipeline.record import artifacts


def test_a_config_is_read_back_without_where_it_ran():
    config = {
        "learning_rate": 1e-08,
        "dataset": {"name": "digits", "classes": ("a", "b")},
        "tracking": {"uri": "http://ann:s3cret@host"},
        "cluster": {"workers": 2},
    }
    content = artifacts.config_files(config, ("a=1",))[artifacts.CONFIG].encode()

    assert b"s3cret" not in content
    assert artifacts.read_config(content, artifacts.digest_of(content)) == {
        "learning_rate": 1e-08,
        "dataset": {"name": "digits", "classes": ["a", "b"]},
    }


def test_a_changed_config_is_refused():
    content = artifacts.config_files({"steps": 10}, ())[artifacts.CONFIG].encode()

    with pytest.raises(RecordError, match=r"config\.yaml must be as it was recorded"):
        artifacts.read_config(content.replace(b"10", b"20"), artifacts.digest_of(content))


def test_a_config_cannot_build_an_object():
    content = b"!!python/object/apply:os.getcwd []\n"

    with pytest.raises(RecordError, match=r"config\.yaml must be as it was recorded, got: could not determine"):
        artifacts.read_config(content, artifacts.digest_of(content))


def test_params_name_a_row_by_its_group_and_are_cut_where_the_store_would_refuse_them():
    params = artifacts.params({"strategy": {"name": "local"}, "loss": {"margin": "x" * 7000}})

    assert params["strategy"] == "local"
    assert len(params["loss.margin"]) == 6000
    assert params["loss.margin"].endswith("(whole in config.yaml)")


def test_arrays_and_layout_are_read_back_bit_for_bit(layout):
    weights = np.array([[0.1, float("nan")], [-0.0, 1e-30]], dtype=np.float32)

    packed = artifacts.arrays_file({"one/weights": weights, "other/weights": weights + 1})

    assert artifacts.read_arrays(packed, "one/")["weights"].tobytes() == weights.tobytes()
    assert artifacts.read_layout("run", artifacts.layout_tags(layout)) == layout


def test_arrays_may_have_any_name():
    named = {name: np.arange(3) for name in ("file", "allow_pickle", "a/b")}

    assert artifacts.read_arrays(artifacts.arrays_file(named)).keys() == named.keys()


def test_arrays_of_objects_are_not_written():
    with pytest.raises(ValueError, match="allow_pickle=False"):
        artifacts.arrays_file({"weights": np.array([{}])})


def test_a_trial_has_the_versions_of_its_worker_where_the_driver_has_others(layout):
    tags = artifacts.layout_tags(dataclasses.replace(layout, versions=(("numpy", "2.3.5"),)))

    assert tags == artifacts.layout_tags(layout) | {"version.numpy": "2.3.5"}
