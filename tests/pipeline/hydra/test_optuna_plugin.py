"""Hydra's own plug-in for Optuna, installed beside ours: the same config works with both, and means the same space.

It is tested where it is installed, as in CI with the lowest versions: ``pip install --no-deps hydra-optuna-sweeper``,
since its release for Hydra 1.3 asks for Optuna 2, although it works with later ones.
"""

from importlib import metadata
from importlib.util import find_spec

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from pipeline.search.space import space_of
from tests.pipeline.hydra.test_search_sweeper import PRESET, SEARCH, parents
from tests.pipeline.session import session

THEIRS = "hydra_plugins.hydra_optuna_sweeper"
NAME = "hydra-optuna-sweeper"
INSTALLED = find_spec("hydra_plugins") is not None and find_spec(THEIRS) is not None
pytestmark = [
    pytest.mark.skipif(not INSTALLED, reason=f"{NAME} is not installed: pip install --no-deps {NAME}"),
    pytest.mark.filterwarnings("ignore:.*has been deprecated:FutureWarning"),  # of Optuna 2's distributions
]

SPACES = (
    *("interval(0,1)", "interval(1,5)", "int(interval(1,5))", "int(interval(1.2,5.7))", "float(interval(1,5))"),
    *("tag(log,interval(1e-3,1))", "tag(log,int(interval(1,100)))", "tag(int,interval(1,5))", "tag(a,choice(1,2))"),
    *("1,2", "a,'b c',null", "true,false", "choice(1,2.5,[3,4])", "range(0.5,3)", "range(1,6,2)"),
)
WITH_THEIR_END = {"range(1,5)": "range(1,6)", "range(0,1,0.25)": "range(0,1.25,0.25)"}
"""Ranges that the plug-in for Hydra 1.3 reads as others: with it a range holds its end, as it does not from 1.4 on."""


def space(distribution):
    """Return what a distribution spans; classes differ between Optuna 2 and later versions."""
    if choices := getattr(distribution, "choices", None):
        return tuple(choices)
    return distribution.low, distribution.high, distribution.log, distribution.step, type(distribution.low)


@pytest.mark.filterwarnings("ignore:The distribution is specified by:UserWarning")  # of a range without its end
@pytest.mark.parametrize("text", [*SPACES, *WITH_THEIR_END])
def test_a_space_is_that_of_the_plug_in(text):
    from hydra_plugins.hydra_optuna_sweeper._impl import create_optuna_distribution_from_override

    parse = OverridesParser.create().parse_override
    own = WITH_THEIR_END.get(text, text) if metadata.version(NAME).startswith("1.3.") else text

    theirs = create_optuna_distribution_from_override(parse(f"x={text}"))
    ours = space_of([parse(f"x={own}")])

    assert space(ours.distributions["x"]) == space(theirs)


@pytest.mark.slow
def test_a_config_works_with_both_plug_ins_and_all_batches_of_each_are_one_sweep(tmp_path):
    names, presets = ("optuna", "search"), tmp_path / "mine/experiment"
    presets.mkdir(parents=True)
    for name in names:
        (presets / f"{name}.yaml").write_text(PRESET.replace("sweeper: search", f"sweeper: {name}"))
    command = ["-m", "--config-dir", "mine", *SEARCH[2:]]

    ends = session(tmp_path, *([*command, f"experiment={name}", f"hydra.sweep.dir={name}"] for name in names))

    assert [code for code, _, _ in ends] == [0, 0], ends
    assert [(status, len(children)) for _, status, _, children in parents(tmp_path)] == [("FINISHED", 6)] * 2
    files = (tmp_path / name / "optimization_results.yaml" for name in names)
    theirs, ours = (yaml.safe_load(file.read_text()) for file in files)
    assert list(theirs) == list(ours)
    assert set(theirs["best_params"]) == set(ours["best_params"])
