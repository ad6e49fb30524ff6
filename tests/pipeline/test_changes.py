"""A change names a key of the recorded config, and leaves the recorded one alone."""

import pytest

from pipeline.config.schema import parse
from pipeline.reproduce.changed_config import changed
from tasks.errors import ConfigError


def test_changing_a_config_leaves_the_recorded_one_alone():
    config = {"loss": {"name": "svm", "margin": 1.0}}

    assert changed(config, ["loss.margin=2.5"]) == {"loss": {"name": "svm", "margin": 2.5}}
    assert config == {"loss": {"name": "svm", "margin": 1.0}}


def test_a_row_is_chosen_by_its_name_and_then_given_its_parameters():
    new = changed({"optimizer": {"name": "sgd"}}, ["optimizer=momentum", "optimizer.momentum=0.5"])

    assert new == {"optimizer": {"name": "momentum", "momentum": 0.5}}


def test_a_parameter_that_a_row_does_not_have_is_refused_by_the_schema():
    with pytest.raises(ConfigError, match="margn"):
        parse(changed({"loss": {"name": "svm"}}, ["loss.margn=2.5"]))


@pytest.mark.parametrize("change", ["trial=3", "steps", "nothing=1", "trial.nothing=1", "tracking.uri=x"])
def test_what_is_no_key_of_the_recorded_config_is_refused(change):
    with pytest.raises(ConfigError, match="--set"):
        changed({"steps": 1, "trial": {"record_every": 1}}, [change])
