import itertools

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from pipeline.search.space import MAX_EXAMPLES, outermost, space_of
from tasks.errors import ConfigError


def space(*texts):
    return space_of(OverridesParser.create().parse_overrides(list(texts)))


@pytest.mark.parametrize(
    ("text", "distribution"),
    [
        ("interval(-5.5,5.5)", FloatDistribution(-5.5, 5.5)),
        ("interval(1,5)", FloatDistribution(1, 5)),
        ("int(interval(1,5))", IntDistribution(1, 5)),
        ("tag(log,interval(1e-5,1))", FloatDistribution(1e-5, 1, log=True)),
        ("tag(log,int(interval(1,1000)))", IntDistribution(1, 1000, log=True)),
        # Hydra's range ends before its stop.
        ("range(0,10,3)", IntDistribution(0, 9, step=3)),
        ("range(5,0,-2)", IntDistribution(1, 5, step=2)),
        ("range(-5.5,5.5,step=0.5)", FloatDistribution(-5.5, 5.0, step=0.5)),
        ("range(0,0.3,step=0.1)", FloatDistribution(0, 0.2, step=0.1)),
        ("range(1,2)", IntDistribution(1, 1)),
        ("choice(sgd,adam)", CategoricalDistribution(["sgd", "adam"])),
        ("64,256", CategoricalDistribution([64, 256])),
        ("'a b',true", CategoricalDistribution(["'a b'", True])),
        # A comma that is part of a value: without its backslash the proposal would be a sweep.
        (r"a\,b,c", CategoricalDistribution([r"a\,b", "c"])),
        ("shuffle(range(1,4))", CategoricalDistribution([1, 2, 3])),
        ("shuffle(f,e,d,c,b,a)", CategoricalDistribution(["f", "e", "d", "c", "b", "a"])),
        ("[1,2],[3,4]", CategoricalDistribution(["[1,2]", "[3,4]"])),
    ],
)
def test_a_sweep_of_the_command_line_is_the_distribution_that_hydras_plug_in_makes_of_it(text, distribution):
    assert space(f"a={text}").distributions == {"a": distribution}


def test_what_is_given_last_counts_and_what_is_not_searched_is_part_of_every_point():
    made = space("a=interval(0,1)", "b=1,2", "+c=x", "e=5", "a=3", "b=range(3)", "~d", "~f=2", "g=null", "e=range(3)")

    assert made.distributions == {"b": IntDistribution(0, 2), "e": IntDistribution(0, 2)}
    assert made.fixed == ("+c=x", "a=3", "~d", "~f=2", "g=null")
    assert space("a=1,2", "b=interval(0,1)", "++b=5", "+b=6").fixed == ("+b=6",)


def test_the_outermost_values_of_a_range_are_those_that_may_be_proposed():
    made = space("a=interval(0,1)", "b=int(interval(1,4))", "c=range(0,1,step=0.25)", "d=x,y")

    (low, high), *others = map(outermost, made.distributions.values())

    assert 0 < low < 1e-300
    assert 1 - 1e-15 < high < 1
    assert others == [[1, 4], [0, 0.75], ["x", "y"]]


def test_the_examples_of_a_space_hold_any_two_of_its_choices_and_the_ends_of_its_ranges():
    made = space("c=a,b,d", "n=int(interval(1,4))", "k=u,v", "y=1", "e=a,b,c,d,e,f", "m=range(2,9)")
    ends = {"c": "abd", "n": "14", "k": "uv", "e": "abcdef", "m": "28"}

    points = [dict(text.split("=") for text in overrides) for overrides in made.examples()]

    for one, other in itertools.combinations(ends, 2):
        assert {(point[one], point[other]) for point in points} == set(itertools.product(ends[one], ends[other]))
    assert {point["y"] for point in points} == {"1"}
    assert len(points) < 30  # of 144 combinations
    assert space("c=a,b").examples() == [["c=a"], ["c=b"]]
    assert sorted(space("c=a,b", "n=int(interval(1,4))").examples()) == [
        [f"c={c}", f"n={n}"] for c in "ab" for n in "14"
    ]


def test_the_examples_of_a_small_space_are_all_combinations_of_its_choices_and_ends():
    made = space("c=a,b,d", "n=int(interval(1,4))", "k=u,v", "y=1")

    points = made.examples()

    assert points == [[f"c={c}", f"n={n}", f"k={k}", "y=1"] for c in "abd" for n in "14" for k in "uv"]


@pytest.mark.parametrize("counts", [(40, 40, 40), (2, 100, 3), (100,)])
def test_the_examples_of_a_space_of_many_choices_hold_each_of_them(counts):
    many = [f"{key}=" + ",".join(f"v{number}" for number in range(n)) for key, n in zip("abc", counts, strict=False)]

    points = space(*many).examples()

    assert len(points) == max(MAX_EXAMPLES, *counts)
    assert len({text for overrides in points for text in overrides}) == sum(counts)


def test_a_grid_has_all_values_of_each_key():
    made = space("a=range(0,1,step=0.25)", "b=int(interval(1,3))", "c=x,y")

    assert made.grid() == {"a": [0, 0.25, 0.5, 0.75], "b": [1, 2, 3], "c": ["x", "y"]}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a=1"], "hydra/sweeper=search must have a key to search over, .* got a=1"),
        (["a=interval(2,1)"], r"a must span what Optuna can search: .* \(got a=interval\(2,1\)\)"),
        (["a=tag(log,interval(0,1))"], "a must span what Optuna can search"),
        (["a=range(1,3,0)"], "a must span what Optuna can search: the step of a range must not be 0"),
        (["a=interval(1,1e400)"], r"a must span .*: its numbers must be finite \(got a=interval\(1,1e400\)\)"),
        (["a=range(1,1e400)"], "a must span what Optuna can search: its numbers must be finite"),
        ([f"a=range(0,{10**400})"], "a must span what Optuna can search: int too large"),
        (["a=tag(log,range(1,9))"], r"a must have the tag log on an interval\(\) only, got .a=tag"),
        (["a=tag(log,choice(1,9))"], r"a must have the tag log on an interval\(\) only"),
        (["a=range(3,3)"], "a must span what Optuna can search: a range must hold a value"),
    ],
)
def test_what_spans_nothing_is_refused_by_name(texts, message):
    with pytest.raises(ConfigError, match=message):
        space(*texts)


@pytest.mark.parametrize("text", ["interval(0,1)", "tag(log,int(interval(1,1000)))"])
def test_a_grid_of_what_cannot_be_listed_is_refused(text):
    with pytest.raises(ConfigError, match="a must have values that can be listed for hydra/sweeper/sampler=grid"):
        space(f"a={text}").grid()
