"""What every sampler must keep, and what a search makes of what it is told."""

import importlib.util
import itertools
import math
import statistics

import pytest

from pipeline.search import samplers
from pipeline.search.study import StudyError
from tasks.errors import ConfigError
from tests.pipeline.search.searching import COUNT, SAMPLERS, made, searched, value, x_of

pytestmark = pytest.mark.filterwarnings("ignore")  # samplers warn of what they cannot do with a choice


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_proposes_points_of_the_space_and_the_same_again(name):
    proposals = searched(made(name), COUNT)

    assert [one.number for one in proposals] == list(range(COUNT))
    for one in proposals:
        given = dict(text.split("=") for text in one.overrides)
        assert list(given) == ["x", "n", "c", "y"]
        assert -2 <= float(given["x"]) <= 1.75
        assert float(given["x"]) % 0.25 == 0
        assert given["n"] in {"1", "2", "3", "4"}
        assert given["c"] in {"a", "b", "null"}
    assert proposals == searched(made(name), COUNT)
    if name != "qmc":  # whose points are the same whatever the seed, unless they are scrambled
        assert proposals != searched(made(name, seed=1), COUNT)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_goes_on_from_proposals_of_the_past_and_contradicts_none(name):
    before = searched(made(name), COUNT)

    search = made(name, past=[one.params for one in before])
    again = searched(search, COUNT)
    new = searched(search, 4)

    assert again == before
    assert [one.number for one in new] == list(range(COUNT, COUNT + 4))
    # It does not begin anew.
    assert [one.overrides for one in new] != [one.overrides for one in before[:4]]


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_bears_trials_that_fail_diverge_are_stopped_or_are_open(name):
    search = made(name)
    for end in range(12):
        proposal = search.ask()
        if end % 4 == 0:
            search.tell(proposal.number, [value(proposal)])
        elif end % 4 == 1:
            search.prune(proposal.number, 10, value(proposal))
        elif end % 4 == 2:
            search.prune(proposal.number, 10, None)
        else:
            search.fail(proposal.number)
    for _ in range(3):
        search.ask()

    assert search.asked == 15


def test_tpe_learns_what_is_better_and_says_which_key_it_was():
    search = made(space=("x=interval(-2,2)", "z=interval(0,1)"))
    gaps = []
    for _ in range(60):
        one = search.ask()
        gaps.append((x_of(one) - 1) ** 2)
        search.tell(one.number, gaps[-1:])

    assert statistics.median(gaps[-20:]) < statistics.median(gaps[:10]) / 2
    assert search.results()["best_value"] == min(gaps)
    assert list(search.importances()) == ["x", "z"]
    assert search.importances()["x"] > 0.5


def test_points_that_are_open_at_once_are_told_apart():
    search = made(space=("x=interval(-2,2)",))
    for _ in range(12):
        one = search.ask()
        search.tell(one.number, [x_of(one) ** 2])

    xs = sorted(x_of(search.ask()) for _ in range(8))

    assert min(b - a for a, b in itertools.pairwise(xs)) > 1e-4


def test_several_objectives_have_a_front():
    search = made(directions=("minimize", "maximize"))
    values = []
    for _ in range(20):
        one = search.ask()
        values.append((x_of(one) ** 2, x_of(one)))
        search.tell(one.number, values[-1])

    front = search.results()["solutions"]

    assert front
    for solution in front:
        a, b = solution["values"]
        assert not any((c <= a and d >= b) and (c, d) != (a, b) for c, d in values)


def test_nothing_told_has_no_best():
    search = made()
    search.fail(search.ask().number)

    assert search.results() == {"name": "optuna"}
    assert search.importances() == {}


@pytest.mark.parametrize(("told", "known"), [(range(9), False), (range(10), True), ([0.5] * 12, False)])
def test_which_key_it_was_is_said_of_enough_values_that_are_not_all_the_same(told, known):
    search = made()
    for one in told:
        search.tell(search.ask().number, [one])

    assert bool(search.importances()) is known


def test_which_key_it_was_is_not_said_of_several_objectives():
    search = made(directions=("minimize", "maximize"))
    for one in range(12):
        search.tell(search.ask().number, [one, one])

    assert search.importances() == {}


def test_a_long_past_is_repeated_and_pruned_without_a_copy_of_all_its_trials_each_time(monkeypatch):
    before = searched(made(), 12)
    search, copied = made(past=[one.params for one in before]), []
    get = search._study.get_trials

    def counted(**options):
        copied.append(options.get("deepcopy", True))
        return get(**options)

    monkeypatch.setattr(search._study, "get_trials", counted)
    for one in before:
        assert search.ask() == one
        search.prune(one.number, 10, 0.5)

    assert True not in copied


def test_whether_a_search_is_resumed_and_the_users_own_code_are_no_part_of_its_identity():
    assert made(resume=True, extend=lambda trial: None).identity == made().identity
    assert "resume" not in made().identity  # which would be another one than that of the searches recorded so far


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"_target_": "optuna.samplers.TPSampler"},
            r"_target_ must be one of .* .*did you mean 'optuna.samplers.TPESampler'",
        ),
        ({"_target_": "os.system"}, "_target_ must be one of"),
        ({"n_startup": 3}, "a key of hydra.sweeper.sampler must be one of .* got 'n_startup'"),
        ({"seed": -1}, "hydra.sweeper.sampler.seed must be a whole number"),
        ({"multivariate": False, "group": True}, "hydra.sweeper.sampler must be what Optuna's TPESampler takes"),
        # Optuna judges these once it makes its first proposal, or its first from what it has learned.
        ({"n_startup_trials": "a"}, "hydra.sweeper.sampler must be what Optuna's TPESampler takes: '<' not supported"),
        ({"n_ei_candidates": 0}, "hydra.sweeper.sampler must be what Optuna's TPESampler takes: "),
        ({"prior_weight": -1}, "TPESampler takes: A non-negative value must be specified for prior_weight"),
    ],
)
def test_a_sampler_that_cannot_be_is_refused_by_name(options, message):
    with pytest.raises(ConfigError, match=message):
        made(**options)


@pytest.mark.skipif(importlib.util.find_spec("cmaes") is None, reason="needs cmaes")
def test_a_sampler_that_cannot_search_for_several_objectives_is_refused_before_it_proposes_any():
    with pytest.raises(ConfigError, match=r"CmaEsSampler takes: .* multi-objective optimization, CmaEsSampler cannot"):
        made("cmaes", directions=("minimize", "maximize"))


def test_a_grid_sampler_has_its_grid_by_its_short_name_too():
    search = made("grid", space=("c=a,b",), _target_="GridSampler")

    assert search.points == 2
    assert {search.ask().overrides for _ in range(2)} == {("c=a",), ("c=b",)}


def test_a_package_that_a_sampler_needs_is_named(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(samplers, "find_spec", lambda name: None if name == "cmaes" else found(name))

    with pytest.raises(ConfigError, match="CmaEsSampler needs the package cmaes: pip install cmaes"):
        made("cmaes")


def test_a_past_of_another_space_is_refused():
    beyond = {"x": "7", "n": "1", "c": "a"}

    with pytest.raises(ConfigError, match="x must span what the record holds of this search, 7"):
        made(past=[beyond]).ask()
    with pytest.raises(ConfigError, match="x must span what the record holds of this search, None"):
        made(past=[{"n": "1", "c": "a"}]).ask()
    with pytest.raises(StudyError, match="must go on from the proposals in the record, number 0"):
        made("random", past=[beyond]).ask()
    search = made("random")
    search.ask()
    with pytest.raises(StudyError, match="must go on from the proposals in the record, number 0"):
        search.recall([beyond])


def test_the_values_of_a_grid_are_proposed_once_each():
    search = made("grid")

    proposals = {one.overrides for one in searched(search, search.points)}

    assert len(proposals) == search.points == 16 * 4 * 3
    assert math.isfinite(search.results()["best_value"])


def test_a_search_goes_on_from_what_a_users_own_code_has_added_to_its_points():
    def extend(trial):
        trial.suggest_float("momentum", 0, 1)
        trial.suggest_categorical("kind", ["a", "b", True, False, None])

    before = searched(made(extend=extend), 12)

    assert all(list(one.params) == ["x", "n", "c", "momentum", "kind"] for one in before)
    assert {"true", "false"} < {one.params["kind"] for one in before}
    assert searched(made(past=[one.params for one in before], extend=extend), 12) == before


def test_a_key_that_has_a_fixed_value_is_not_suggested_by_a_users_own_code():
    with pytest.raises(ConfigError, match="custom_search_space must suggest no key that has a fixed value, got 'y=1'"):
        made(extend=lambda trial: trial.suggest_int("y", 0, 9)).ask()
