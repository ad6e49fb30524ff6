import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from pipeline.hydra.grid import GridSpec, combinations
from tasks.errors import ConfigError
from tests.pipeline.session import session

PLAN = ("sweep.dry_run=true", "dataset=synthetic")
PRESETS = {
    "paired": "{zip: [optimizer, learning_rate], params: {optimizer: 'sgd,adam', learning_rate: '1e-2,1e-3'}}",
    "alone": "{params: {batch_size: '32,64,128'}}",
}


PAIR = "hydra.sweeper.zip=[optimizer,learning_rate]"


def jobs(*texts, zipped=(), points=None):
    parsed = OverridesParser.create().parse_overrides(list(texts))
    return [" ".join(job) for job in combinations(parsed, zipped=zipped, points=points)]


def test_keys_that_are_zipped_vary_together_and_the_others_with_all_of_them():
    made = jobs("a=1,2", "b=5,6", "c=x,y", "d=0", zipped=[["a", "c"]])

    assert made == ["a=1 c=x b=5 d=0", "a=1 c=x b=6 d=0", "a=2 c=y b=5 d=0", "a=2 c=y b=6 d=0"]


def test_several_lists_of_keys_are_zipped_each_by_itself():
    made = jobs("+a=1,2", "b=3,4", "c=5,6", "d=7,8", zipped=[["b", "a"], ["c", "d"]])

    assert made == ["b=3 +a=1 c=5 d=7", "b=3 +a=1 c=6 d=8", "b=4 +a=2 c=5 d=7", "b=4 +a=2 c=6 d=8"]


def test_keys_that_are_zipped_vary_in_the_place_of_the_first_of_them():
    made = jobs("b=1,2", "c=5,6", "a=3,4", zipped=[["a", "b"]])

    assert made == ["a=3 b=1 c=5", "a=3 b=1 c=6", "a=4 b=2 c=5", "a=4 b=2 c=6"]


def test_what_is_given_last_replaces_the_values_of_a_key_with_a_plus_or_without():
    assert jobs("a=1,2", "b=3,4", "++a=5") == ["++a=5 b=3", "++a=5 b=4"]
    assert jobs("+a=1,2", "++a=3,4", "b=5,6", zipped=[["a", "b"]]) == ["++a=3 b=5", "++a=4 b=6"]


def test_a_deletion_keeps_its_value_and_a_range_counts_by_its_step():
    assert jobs("~a", "~b=3", "c=range(0,1e8,5e7)") == ["~a ~b=3 c=0.0", "~a ~b=3 c=50000000.0"]
    assert jobs("a=null", "c=range(100000000,100000002)") == ["a=null c=100000000", "a=null c=100000001"]


@pytest.mark.parametrize(
    ("interval", "points", "values"),
    [
        ("tag(log,interval(1e-6,1e-3))", 4, "1e-06 1e-05 0.0001 0.001"),
        ("tag(log,interval(1e-6,1e-5))", 3, "1e-06 3.162e-06 1e-05"),
        ("tag(log,int(interval(1,1000)))", 4, "1 10 100 1000"),
        ("int(interval(1,3))", 9, "1 2 3"),
        ("interval(-1,1)", 3, "-1.0 0.0 1.0"),
        # Four digits would not tell these apart.
        ("interval(1,1.0001)", 3, "1.0 1.00005 1.0001"),
        # Four digits would be beyond the end.
        ("interval(0.99994,0.99998)", 3, "0.99994 0.99996 0.99998"),
    ],
)
def test_an_interval_is_so_many_points_in_the_logarithm_where_it_has_that_tag(interval, points, values):
    assert jobs(f"a={interval}", points=points) == [f"a={value}" for value in values.split()]


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        (["a=1,2", "b=1,2,3"], {"zipped": [["a", "b"]]}, "as many values as each other, got 2 of a and 3 of b"),
        (["a=1,2", "b=1"], {"zipped": [["a", "b"]]}, "must name keys that have several values each, got 'b'"),
        (["a=1,2"], {"zipped": [["a", "c"]]}, "must name keys that have several values each, got 'c'"),
        (["a=interval(0,1)"], {}, r"\(hydra.sweeper.points=NUMBER takes so many of an interval\), got a=interval"),
        (["a=tag(log,interval(0,1))"], {"points": 3}, "a must be above 0 where an interval has the tag log, got 0"),
        (["a=interval(2,1)"], {"points": 3}, "a must be an interval that begins below its end, got '2.0 to 1.0'"),
        (["a=interval(1,1)"], {"points": 3}, "a must be an interval that begins below its end, got '1.0 to 1.0'"),
        (["a=range(1e8)"], {}, r"a must have a step that is not 0, and at most 10000000 values, got 'a=range\(1e8\)'"),
        (["a=range(1,1e400)"], {}, "a must have a step that is not 0, and at most 10000000 values"),
        (["a=shuffle(range(0,1e400))"], {}, "a must have a step that is not 0, and at most 10000000 values"),
        (["a=range(1,3,0)"], {}, "a must have a step that is not 0"),
        (["a=range(3,3)"], {}, "a must have at least one value, got a=range"),
        (["a=range(10000)", "b=range(10000)"], {}, "the grid must have at most 10000000 points, got 100000000"),
        (["a=tag(log,range(1,100,10))"], {}, r"a must have the tag log on an interval\(\) only, got a=tag"),
    ],
)
def test_what_cannot_be_paired_or_listed_is_refused_by_name(texts, options, message):
    with pytest.raises(ConfigError, match=message):
        jobs(*texts, **options)


@pytest.mark.parametrize(
    ("sweeper", "message"),
    [
        ({"zip": "a"}, "hydra.sweeper.zip must be a list of keys that vary together, or several such lists, got a"),
        ({"zip": ["a"]}, "hydra.sweeper.zip must be a list of keys"),
        ({"zip": 5}, "hydra.sweeper.zip must be a list of keys that vary together, or several such lists, got 5"),
        ({"zip": [["a", "b"], ["b", "c"]]}, "hydra.sweeper.zip must name each key once, got 'b'"),
        ({"zip": ["a", "+a"]}, "hydra.sweeper.zip must name each key once, got 'a'"),
        ({"zip": ["a", 2]}, "hydra.sweeper.zip must be a list of keys"),
        ({"params": ["a"]}, "hydra.sweeper.params must hold values by key"),
        ({"points": "2"}, "hydra.sweeper.points must be a number of at least 2 and at most 10000000, got '2'"),
        ({"points": 1}, "hydra.sweeper.points must be a number of at least 2 and at most 10000000, got 1"),
        ({"points": 10**8}, "hydra.sweeper.points must be a number of at least 2 and at most 10000000, got 100000000"),
    ],
)
def test_what_a_sweepers_config_cannot_mean_is_refused_by_name(sweeper, message):
    with pytest.raises(ConfigError, match=message):
        GridSpec.of(sweeper)


def test_the_grid_of_a_sweepers_config_has_its_pairs_its_points_and_its_interpolations_resolved():
    config = OmegaConf.create({"zip": ["a", "b"], "points": 2, "params": {"a": [1, 2], "b": "${params.a}"}})

    assert GridSpec.of(config) == GridSpec(params={"a": [1, 2], "b": [1, 2]}, zipped=(("a", "b"),), points=2)
    assert GridSpec.of({"zip": [["a", "b"], ["c", "d"]]}).zipped == (("a", "b"), ("c", "d"))
    assert GridSpec.of({"zip": ["+a", "b"]}).zipped == (("a", "b"),)  # as it is written where it is swept


def test_a_text_in_a_list_of_a_file_is_that_text():
    texts = ["a b", "c,d", "1", "true", "it's", "{e: f}"]

    parse = OverridesParser.create().parse_overrides

    (job,) = combinations(parse(GridSpec.of({"params": {"a": texts, "b": {"c": texts}}}).texts()))

    assert [override.value() for override in parse(job)] == [texts, {"c": texts}]


def test_pairs_of_the_command_line_and_of_presets_are_planned(tmp_path):
    (tmp_path / "mine/experiment").mkdir(parents=True)
    for name, sweeper in PRESETS.items():
        text = f"# @package _global_\nhydra: {{sweeper: {sweeper}}}\n"
        (tmp_path / f"mine/experiment/{name}.yaml").write_text(text)
    (tmp_path / "mine/extra").mkdir()  # a group that is in no list of defaults
    (tmp_path / "mine/extra/b.yaml").write_text("# @package _global_\nseed: 1\n")
    (tmp_path / "mine/extra/a.yaml").write_text("# @package _global_\nhydra: {sweeper: {params: {seed: '1,2,3'}}}\n")
    mine = ["-m", "--config-dir", "mine"]

    ends = session(
        tmp_path,
        ["-m", "optimizer=sgd,adam", "learning_rate=1e-2,1e-3", PAIR, *PLAN],
        ["-m", "learning_rate=tag(log,interval(1e-6,1e-3))", "hydra.sweeper.points=7", *PLAN],
        [*mine, "experiment=paired", *PLAN],
        [*mine, "experiment=paired,alone", *PLAN],
        [*mine, "experiment=paired,alone", "steps=100,200", "hydra.sweeper.zip=[experiment,steps]", *PLAN],
        [*mine, "experiment=paired", "optimizer=momentum,nesterov", *PLAN],
        ["-m", "optimizer=sgd,adam", "learning_rate=interval(1e-3,1e-2)", "hydra.sweeper.points=2", PAIR, *PLAN],
        [*mine, "+extra=a,b", "learning_rate=1e-2,1e-3", "hydra.sweeper.zip=[+extra,learning_rate]", *PLAN],
        ["-m", "seed=1,2", "hydra.sweeper.zip=seed", *PLAN],
    )

    assert [end[0] for end in ends] == [0, 0, 0, 0, 0, 0, 0, 0, 2]
    counts = [next(line for line in end[2].splitlines() if " folded" in line) for end in ends[:8]]
    assert [line.partition(" trials")[0] for line in counts] == ["2", "7", "2", "5", "7", "2", "2", "4"]
    assert ends[8][1].startswith("error: hydra.sweeper.zip must be a list of keys")
