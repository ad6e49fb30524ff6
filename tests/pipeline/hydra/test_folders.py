import pytest
from omegaconf import OmegaConf

from pipeline.hydra.folders import _Yaml


@pytest.mark.parametrize("name", ["seed", "on", "1e3", "a b"])
@pytest.mark.parametrize("value", [0, -5, 10**20, True, 3.0, "3", "a: b", None, [], {}, [1, "on"], {"no": {"b": [2]}}])
def test_an_entry_is_what_omegaconf_writes(name, value):
    assert _Yaml().dump({name: value}) == OmegaConf.to_yaml({name: value})


@pytest.mark.parametrize("text", ["seed=3", "a.b=-.5", "null=~", "on=off", "x=1e-3", "x={a: 1}", "x='y'", "x=", "~x"])
def test_an_override_is_what_omegaconf_writes(text):
    assert _Yaml().items([text]) == OmegaConf.to_yaml([text])
