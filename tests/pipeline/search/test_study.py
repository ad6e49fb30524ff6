"""A search in a database: its study goes on, is resumed, and is shared with others."""

import shutil

import optuna
import pytest
import sqlalchemy

from pipeline.search.study import StudyError
from tests.pipeline.search.searching import SAMPLERS, SPACE, made, searched, value

pytestmark = pytest.mark.filterwarnings("ignore")  # samplers warn of what they cannot do with a choice


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Return a database without studies: Optuna takes a quarter of a second to create its tables."""
    file = tmp_path_factory.mktemp("tables") / "study.db"
    optuna.storages.RDBStorage(f"sqlite:///{file}")
    return file


@pytest.fixture
def storage(tables, tmp_path):
    return f"sqlite:///{shutil.copy(tables, tmp_path)}"


def test_a_database_whose_tables_another_process_creates_meanwhile_is_tried_again(storage, monkeypatch):
    create, failures = optuna.create_study, ["table studies already exists", "UNIQUE constraint failed"]

    def create_after_failures(**options):
        if failures and options.get("storage"):
            raise sqlalchemy.exc.OperationalError("CREATE TABLE studies", {}, Exception(failures.pop()))
        return create(**options)

    monkeypatch.setattr(optuna, "create_study", create_after_failures)
    monkeypatch.setattr("pipeline.search.study.RETRY_AFTER", 0.0)

    assert len(searched(made(storage=storage), 2)) == 2
    assert not failures


def test_a_study_in_a_database_goes_on_and_is_not_told_twice(storage):
    before = searched(made(storage=storage), 8)
    search = made(storage=storage, past=[one.params for one in before])

    assert searched(search, 8) == before
    assert len(search._study.trials) == 8
    assert search.results()["best_value"] == min(map(value, before))


def test_a_trial_that_was_stopped_is_not_told_twice_either(storage):
    search = made(storage=storage)
    before = [search.ask() for _ in range(3)]
    search.prune(0, 10, 0.5)
    search.prune(1, 10, None)

    again = made(storage=storage, past=[one.params for one in before])
    for number in range(3):
        again.ask()
        again.prune(number, 20, 0.25)

    assert [one.intermediate_values for one in again._study.trials] == [{10: 0.5}, {}, {20: 0.25}]


def test_a_seed_that_is_given_is_the_same_in_a_study_that_has_trials_and_a_resumed_search_does_not_repeat_it(storage):
    before = made("random", storage=storage, seed=3).ask()

    again = made("random", storage=storage, seed=3).ask()
    resumed = made("random", storage=storage, seed=3, resume=True)  # of which no record holds a proposal

    assert again == before
    assert resumed.ask() == before
    assert resumed.ask().overrides != before.overrides


@pytest.mark.parametrize("name", ["random", "nsgaii"])
def test_a_search_without_a_seed_proposes_other_points_where_its_study_has_trials(storage, name):
    before = searched(made(name, storage=storage), 8)
    after = searched(made(name, storage=storage), 8)

    assert [one.overrides for one in after] != [one.overrides for one in before]

    # and one that is resumed: it began with as many trials in the study as it has proposed
    search = made(name, storage=storage, resume=True)
    first = search.ask()
    search.recall([one.params for one in after])
    again = [first, *(search.ask() for _ in after[1:])]

    assert again == after
    assert [search.ask().overrides for _ in after] not in [[one.overrides for one in part] for part in (before, after)]


@pytest.mark.parametrize("name", ["random", "tpe"])
def test_searches_without_a_seed_that_begin_at_the_same_moment_propose_other_points_from_the_second_on(storage, name):
    one, other = made(name, storage=storage), made(name, storage=storage)

    proposed, again = ([search.ask().overrides for _ in range(4)] for search in (one, other))

    assert proposed[0] == again[0]
    assert all(overrides not in proposed for overrides in again[1:])


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_search_in_a_database_is_resumed_with_its_first_proposal_whatever_it_has_learned_since(storage, name):
    # given a search that has learned, between two others in the same study
    searched(made(name, space=(*SPACE[:3], "y=0"), storage=storage), 2)
    before = searched(made(name, storage=storage), 12)
    searched(made(name, space=(*SPACE[:3], "y=2"), storage=storage), 2)

    search = made(name, storage=storage, resume=True)
    first = search.ask()
    search.recall([one.params for one in before])
    again = [first, *(search.ask() for _ in before[1:])]
    new = [search.ask() for _ in range(4)]

    assert again == before
    assert [trial.number for trial in search._trials] == [*range(2, 14), *range(16, 20)]
    assert [one.overrides for one in new] != [one.overrides for one in before[:4]]


@pytest.mark.parametrize("recorded", [1, 4])
def test_what_a_killed_process_was_running_has_failed_in_its_study_once_it_is_resumed_and_no_more(storage, recorded):
    # given a search of which some proposals are in no record, and another process that runs one in the same study
    killed = made(storage=storage)
    before = [killed.ask() for _ in range(6)]
    killed.tell(0, [value(before[0])])
    made(space=(*SPACE[:3], "y=2"), storage=storage).ask()

    search = made(storage=storage, resume=True)
    search.ask()
    search.recall([one.params for one in before[:recorded]])
    for _ in range(recorded):
        search.ask()

    states = [trial.state.name for trial in search._study.trials]
    lost = ["FAIL"] * (6 - recorded)
    assert states == ["COMPLETE", *["RUNNING"] * (recorded - 1), *lost, "RUNNING", "RUNNING"]


def test_of_searches_alike_the_one_of_the_same_command_is_resumed_whatever_the_order_of_its_values(storage):
    for fixed in ("y=0", "z=0"), ("y=1", "z=0"), ("y=2", "z=0"):
        made(space=(*SPACE[:3], *fixed), storage=storage).ask()

    search = made(space=("sweep.resume=true", *SPACE[:3], "z=0", "y=1"), storage=storage, resume=True)
    search.ask()

    assert [trial.number for trial in search._trials] == [1]


def test_a_search_that_was_refused_is_not_gone_on_from(storage):
    refused = made(storage=storage)
    refused.ask()
    refused.withdraw()

    search = made(storage=storage, resume=True)
    search.ask()
    search.withdraw()  # the resume itself is refused: another may go on from it
    search.tell(0, [1.0])

    study = optuna.load_study(study_name="one", storage=storage)
    assert [trial.state.name for trial in study.trials] == ["FAIL", "COMPLETE"]


def test_a_search_that_is_resumed_before_it_has_begun_begins(storage):
    assert made(storage=storage, resume=True).ask() == made().ask()


def test_proposals_of_the_same_point_are_each_a_trial_of_their_own_once_the_search_is_resumed(storage):
    earlier = made(space=("n=range(1,2)",), storage=storage)
    before = [earlier.ask() for _ in range(3)]

    search = made(space=("n=range(1,2)",), storage=storage, resume=True)
    search.ask()
    search.recall([one.params for one in before])
    _ = [search.ask() for _ in before[1:]]

    assert [trial.number for trial in search._trials] == [0, 1, 2]


def test_a_search_without_a_record_leaves_what_is_running_in_its_study_since_that_may_be_another_process(storage):
    _ = [made(storage=storage).ask() for _ in range(2)]

    search = made(storage=storage, resume=True)
    for _ in range(3):
        search.ask()

    assert {trial.state.name for trial in search._study.trials} == {"RUNNING"}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"directions": ("maximize",)}, "is to minimize, this search to maximize"),
        ({"directions": ("minimize", "minimize")}, "is to minimize, this search to minimize, minimize"),
        ({"space": ("x=1,2",)}, "has x in FloatDistribution.*, this search in CategoricalDistribution"),
        ({"space": ("c=a,b",)}, "has c in CategoricalDistribution.*, this search in CategoricalDistribution"),
    ],
)
def test_a_study_of_another_kind_is_refused_and_left_alone(storage, other, message):
    searched(made(storage=storage), 2)

    with pytest.raises(StudyError, match=f"study_name must be a study of the same kind, one in .* {message}"):
        made(storage=storage, **other)

    assert len(made(storage=storage, space=("x=range(-3,4,step=0.5)", "z=1,2"))._study.trials) == 2


def test_a_storage_that_cannot_be_reached_is_refused():
    with pytest.raises(StudyError, match="must be a database that Optuna can use, got no://where"):
        made(storage="no://where")


def test_the_values_of_a_grid_are_proposed_once_each_whatever_the_study_in_a_database_holds(storage):
    space = ("a=1,2,3", "b=x,y")

    def proposed(search, count):
        return [search.ask().overrides for _ in range(count)]

    alone = proposed(made("grid", space=space), 6)
    killed = proposed(made("grid", space=space, storage=storage), 4)  # before it had a record
    resumed = made("grid", space=space, storage=storage, resume=True)
    begun = [resumed.ask() for _ in range(6)]
    again = [one.overrides for one in begun]
    for number in range(6):
        resumed.tell(number, [1.0])
    after = made("grid", space=space, storage=storage)
    recalled = made("grid", space=space, storage=storage, past=[one.params for one in begun[2:5]])

    assert len(set(alone)) == 6
    assert killed == alone[:4]
    assert again == alone
    assert proposed(after, 6) == alone
    assert proposed(recalled, 6) == [*again[2:5], *again[:2], again[5]]


def test_a_grid_of_one_point_in_a_database_is_told_its_value(storage):
    search = made("grid", space=("n=range(1,2)",), storage=storage)

    search.tell(search.ask().number, [2.0])

    assert search.results()["best_value"] == 2.0


def test_a_grid_goes_on_where_an_earlier_search_in_its_study_has_ended(storage):
    space = ("a=1,2,3", "b=x,y")
    first = made("grid", space=space, storage=storage)
    begun = [first.ask() for _ in range(4)]
    for one in begun:
        first.tell(one.number, [1.0])

    second = made("grid", space=space, storage=storage)
    further = [second.ask() for _ in range(2)]

    assert (first.points, second.points) == (6, 2)
    assert len({one.overrides for one in (*begun, *further)}) == 6
    # one that is resumed has the points of its own, too
    assert made("grid", space=space, storage=storage, resume=True).points == 2
