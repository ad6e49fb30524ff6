import math

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from pipeline.config.schema import Sweep
from pipeline.results import proposals as tables
from pipeline.results.criterion import Criterion
from pipeline.search.objectives import Objectives
from pipeline.search.proposals import PROPOSALS_PER_WORKER, Budget, Proposals
from pipeline.search.samplers import sampler_configs
from pipeline.search.search import Options, Search
from pipeline.search.space import space_of
from pipeline.sweep.source import End
from tasks.errors import ConfigError
from tasks.events import Outcome

ROOM = 1000


def proposals(name="tpe", directions=("maximize",), metrics=("val/accuracy",), *, storage=None, resume=False, **budget):
    space = space_of(OverridesParser.create().parse_overrides(["x=range(6)", "c=a,b"]))
    kept = {"storage": storage, "study_name": "one", "resume": resume}
    search = Search(space, Options(sampler=sampler_configs()[name], directions=directions, **kept))
    objectives = Objectives(metrics=metrics, directions=directions)
    return Proposals(search, Budget(**budget), objectives)


def ended(accuracy, outcome=Outcome.COMPLETE):
    return End(outcome=outcome, metrics={"val/accuracy": accuracy}, step=10)


def test_a_search_proposes_in_batches_as_groups_end_and_without_a_barrier():
    made = proposals(n_trials=64, workers=2)

    first = made.more(ROOM)
    counts = []
    for proposal in first:
        made.tell(proposal.number, ended(0.5))
        counts.append(len(made.more(ROOM)))

    assert len(first) == 2 * PROPOSALS_PER_WORKER
    # As soon as half of a worker's share has ended: a worker may be idle meanwhile.
    half = PROPOSALS_PER_WORKER // 2
    assert counts == [0, 0, 0, half] * 4


def test_a_search_that_learns_of_more_workers_proposes_for_all_of_them_and_for_no_fewer():
    made = proposals(n_trials=1000, workers=1)

    counts = []
    for workers in (1, 4, 2):
        made.scale_to(workers)
        counts.append(len(made.more(ROOM)))

    # those before the sampler learns, what then makes eight a worker, and none for fewer workers than there were
    assert counts == [10, 4 * PROPOSALS_PER_WORKER - 10, 0]


def test_a_metric_that_no_trial_measures_is_an_error_before_anything_is_learnt_of_it():
    made = proposals(metrics=("reward",), n_trials=30)

    first = made.more(ROOM)
    made.tell(first[0].number, ended(0.5, Outcome.DIVERGED))
    for proposal in first[1:-1]:
        made.tell(proposal.number, ended(0.5))
    with pytest.raises(ConfigError, match=r"^the metric of a search must be measured .* val/accuracy, got .reward"):
        made.tell(first[-1].number, ended(0.5))


def test_trials_that_all_diverge_at_first_have_not_measured_too_little():
    made = proposals(metrics=("reward",), n_trials=30)

    for proposal in made.more(ROOM):
        made.tell(proposal.number, ended(0.5, Outcome.DIVERGED))

    assert made.more(ROOM)


def test_a_search_that_ends_before_it_learns_keeps_its_trials_whatever_they_measure():
    made = proposals(metrics=("reward",), n_trials=4)

    for proposal in made.more(ROOM):
        made.tell(proposal.number, ended(0.5))

    assert [one.outcome for one in made.news().proposals] == ["complete"] * 4


def test_a_search_of_one_trial_at_a_time():
    made = proposals(n_trials=12, n_jobs=1)
    for proposal in made.more(ROOM):
        made.tell(proposal.number, ended(0.5))

    for number in (10, 11):
        assert len(made.more(ROOM)) == 1
        assert made.more(ROOM) == []
        made.tell(number, ended(0.5))
    assert made.done
    assert len(proposals(n_trials=1).more(ROOM)) == 1


@pytest.mark.parametrize("name", ["random", "qmc", "grid"])
def test_a_sampler_that_learns_nothing_proposes_all_at_once(name):
    made = proposals(name, n_trials=10, n_jobs=2)

    assert made.before_learning == len(made.more(4)) == 10
    assert made.done


def test_a_search_that_is_resumed_with_fewer_trials_repeats_all_that_it_has_proposed():
    before = proposals(n_trials=12).more(ROOM)
    made = proposals(n_trials=4)

    first = made.more(1)
    made.recall([one.params for one in before])

    assert first + made.more(ROOM) == before
    assert made.done


@pytest.mark.parametrize("count", [2, 14])
def test_a_resumed_search_repeats_all_its_proposals_at_once_and_proposes_no_others_with_them(count):
    before = proposals(n_trials=40, n_jobs=14).more(ROOM)[:count]
    made = proposals(n_trials=40, n_jobs=4)

    first = made.more(1)
    made.recall([one.params for one in before])

    assert first + made.more(ROOM) == before


@pytest.mark.parametrize("name", ["random", "qmc", "grid"])
def test_a_search_that_learns_nothing_is_resumed_in_a_database_with_all_that_it_has_proposed(name, tmp_path):
    storage = f"sqlite:///{tmp_path}/study.db"
    before = proposals(name, storage=storage, n_trials=6).more(ROOM)
    made = proposals(name, storage=storage, resume=True, n_trials=8)

    first = made.more(1)
    made.recall([one.params for one in before])
    again = first + made.more(ROOM)

    assert again[:6] == before
    assert len(again) == 8


def test_a_grid_is_no_more_than_its_values():
    made = proposals("grid", n_trials=100)

    made_at_once = made.more(4)

    assert len({one.overrides for one in made_at_once}) == len(made_at_once) == 12
    assert made.done


def test_there_are_as_many_proposals_as_wanted_and_once_it_learns_no_more_open_than_n_jobs():
    made = proposals(n_trials=23, n_jobs=4, max_failure_rate=1)
    sizes = []
    while batch := made.more(ROOM):
        sizes.append(len(batch))
        for proposal in batch:
            made.tell(proposal.number, ended(0.5))

    assert sizes == [10, 4, 4, 4, 1]
    assert made.done


def test_too_many_failures_end_a_search():
    made = proposals(n_trials=40, n_jobs=10, max_failure_rate=0.25)
    batch = made.more(ROOM)
    for proposal in batch[:8]:
        made.tell(proposal.number, ended(0.5))
    for proposal in batch[8:]:
        made.tell(proposal.number, ended(math.nan, Outcome.FAILED))

    assert not made.done
    for proposal in made.more(ROOM):
        made.tell(proposal.number, ended(math.nan, Outcome.FAILED))
    assert made.done
    assert made.more(ROOM) == []  # although there is room for as many again


def test_a_search_in_which_too_many_have_failed_so_far_is_done_only_if_it_is_so_however_the_others_end():
    made = proposals(n_trials=40, n_jobs=10, max_failure_rate=0.25)
    first = made.more(ROOM)
    for proposal in first[:2]:
        made.tell(proposal.number, ended(math.nan, Outcome.FAILED))
    waits = made.failing, made.done, made.more(ROOM)
    for proposal in first[2:8]:
        made.tell(proposal.number, ended(0.5))
    goes_on = made.failing, made.done, len(made.more(ROOM))
    late = proposals(n_trials=40, n_jobs=10, max_failure_rate=0.25)
    for proposal in late.more(ROOM)[:3]:
        late.tell(proposal.number, ended(math.nan, Outcome.FAILED))

    assert waits == (True, False, [])
    assert goes_on == (False, False, 8)
    assert late.done  # 3 of 10 are too many


def test_a_trial_that_is_stopped_is_told_as_pruned_with_its_value_and_one_that_diverged_without():
    made = proposals(n_trials=5)
    ends = [
        ended(0.5),
        ended(0.25, Outcome.STOPPED),
        ended(0.75, Outcome.DIVERGED),
        ended(0.875, Outcome.FAILED),
        ended(math.nan, Outcome.STOPPED),
    ]
    for proposal, end in zip(made.more(ROOM), ends, strict=True):
        made.tell(proposal.number, end)

    trials = made.search._study.trials
    assert [trial.state.name for trial in trials] == ["COMPLETE", "PRUNED", "PRUNED", "FAIL", "PRUNED"]
    assert [trial.value for trial in trials] == [0.5, 0.25, None, None, None]
    assert [trial.intermediate_values for trial in trials] == [{}, {10: 0.25}, {}, {}, {}]
    assert made.search.results()["best_value"] == 0.5
    # what is recorded of one that has failed is no value, whatever it had measured
    assert [one.values for one in made.news().proposals] == [(0.5,), (0.25,), (0.75,), (), ()]


def test_of_several_objectives_one_that_is_no_number_is_not_learned_from():
    made = proposals(directions=("maximize", "minimize"), metrics=("val/accuracy", "val/loss"), n_trials=2)
    for proposal, loss in zip(made.more(ROOM), (1.0, math.inf), strict=True):
        metrics = {"val/accuracy": 0.5, "val/loss": loss}
        made.tell(proposal.number, End(outcome=Outcome.COMPLETE, metrics=metrics, step=10))

    assert [trial.state.name for trial in made.search._study.trials] == ["COMPLETE", "FAIL"]
    assert [one.values for one in made.news().proposals] == [(0.5, 1.0), ()]


def test_what_is_told_of_proposals_is_what_is_new_and_once_all_have_ended_what_mattered():
    made = proposals(n_trials=12, n_jobs=2)
    begun = made.more(ROOM)

    first = made.news()
    nothing = made.news()
    for proposal in begun:
        made.tell(proposal.number, ended(proposal.number / 10))
    made.more(ROOM)
    second = made.news()
    made.tell(10, ended(math.nan))
    made.tell(11, ended(0.5, Outcome.STOPPED))
    last = made.news()

    assert [(row["known"], row["outcome"]) for row in tables.rows(first)] == [(0, "not finished")] * 10
    assert nothing is None
    table = tables.rows(second)
    assert [(row["proposal"], row["known"], row.get("val/accuracy")) for row in table[9:]] == [
        (9, 0, 0.9),
        (10, 10, None),
        (11, 10, None),
    ]
    assert second.importances == {}
    assert [one.values for one in last.proposals] == [(), (0.5,)]
    assert sorted(last.importances) == ["c", "x"]
    assert tables.tags(last)["search.objectives"] == "maximize val/accuracy"
    # a value that is no number is not learned from
    assert made.search._study.trials[10].state.name == "PRUNED"


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"n_trials": 0}, "hydra.sweeper.n_trials must be a whole number of at least 1, got 0"),
        ({"n_trials": True}, "hydra.sweeper.n_trials must be a whole number of at least 1, got True"),
        ({"n_jobs": "two"}, "hydra.sweeper.n_jobs must be a whole number of at least 1, or null, got 'two'"),
        ({"max_failure_rate": 2}, "hydra.sweeper.max_failure_rate must be between 0 and 1, got 2"),
        ({"max_failure_rate": "1"}, "hydra.sweeper.max_failure_rate must be between 0 and 1, got '1'"),
    ],
)
def test_a_budget_that_cannot_be_is_refused_by_name(budget, message):
    with pytest.raises(ConfigError, match=message):
        Budget(**budget)


@pytest.mark.parametrize(
    ("sweep", "metrics", "direction", "directions"),
    [
        ({}, None, None, ("maximize",)),
        ({"metric": "val/loss"}, None, None, ("minimize",)),
        ({"metric": "val/loss", "mode": "max"}, None, None, ("maximize",)),
        ({}, ["val/accuracy", "val/loss"], None, ("maximize", "minimize")),
        ({}, ["val/accuracy", "steps"], ["maximize", "minimize"], ("maximize", "minimize")),
        ({}, "val/loss", "minimize", ("minimize",)),
        ({"metric": "val/loss", "mode": "max"}, "val/loss", None, ("maximize",)),
    ],
)
def test_the_direction_is_that_of_the_metric_or_what_is_said(sweep, metrics, direction, directions):
    assert Objectives.of(sweep, metrics, direction).directions == directions


@pytest.mark.parametrize("metric", ["val/accuracy", "val/loss", "largest_relative_error", "examples", "evaluations"])
def test_a_search_goes_where_its_sweep_ranks(metric, tiny):
    (direction,) = Objectives.of({"metric": metric}, None, None).directions

    assert direction == f"{Criterion.of(Sweep(metric=metric), tiny).mode}imize"


@pytest.mark.parametrize(
    ("sweep", "metrics", "direction", "message"),
    [
        (
            {},
            None,
            "minimize",
            "direction must agree with sweep.mode, by which accuracy is maximized, got 'minimize'",
        ),
        (
            {"metric": "val/loss"},
            "val/loss",
            "maximize",
            "direction must agree with sweep.mode, by which val/loss is minimized, got 'maximize'",
        ),
        ({}, None, ["maximize", "minimize"], "metrics must name as many metrics as hydra.sweeper.direction has"),
        ({}, ["a", "b"], "maximize", "many metrics as hydra.sweeper.direction has directions, got a, b for maximize"),
        ({}, ["a", "a"], None, "metrics must name each metric once"),
    ],
)
def test_objectives_that_contradict_each_other_are_refused(sweep, metrics, direction, message):
    with pytest.raises(ConfigError, match=message):
        Objectives.of(sweep, metrics, direction)


@pytest.mark.parametrize("accuracy", ["val/accuracy", "train/accuracy"])
def test_the_metric_of_a_search_is_named_as_it_was_measured(accuracy):
    made = proposals(metrics=(None,), n_trials=2)
    for proposal in made.more(ROOM):
        made.tell(proposal.number, End(outcome=Outcome.COMPLETE, metrics={accuracy: 0.5, "train/loss": 1.0}, step=10))

    assert made.news().metrics == (accuracy,)
    assert made.objectives == ()  # that need a metric of a name
    assert proposals().objectives == (("maximize", "val/accuracy"),)


def test_accuracy_is_that_of_training_where_there_is_no_validation_set():
    objectives = Objectives.of({}, None, None)

    assert objectives.values({"train/accuracy": 0.5, "val/accuracy": 0.25}) == [0.25]
    assert objectives.values({"train/accuracy": 0.5}) == [0.5]
    assert math.isnan(objectives.values({})[0])


def test_the_metric_of_the_sweep_is_optimised_as_the_sweep_ranks_where_it_is_named_too():
    ranked = {"metric": None, "mode": "min"}

    assert Objectives.of(ranked, None, None).directions == ("minimize",)
    assert Objectives.of(ranked, "val/accuracy", None).directions == ("minimize",)
    with pytest.raises(ConfigError, match=r"hydra\.sweeper\.direction must agree with sweep\.mode"):
        Objectives.of(ranked, "val/accuracy", "maximize")
