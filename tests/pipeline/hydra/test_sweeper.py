import os
import re
from typing import get_args

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from pipeline.config.tables import TABLES
from pipeline.hydra.folders import claim_folder
from pipeline.hydra.sweeper import defer_conditional_keys, undo_deferral
from tasks.rows import field_names, hints_of
from tests.pipeline.secret import SECRET, holding
from tests.pipeline.session import session

PLAN = ("sweep.dry_run=true", "dataset=synthetic")
SWEEPERS = [
    pytest.param((), id="grid"),
    pytest.param(("hydra/sweeper=search", "hydra/sweeper/sampler=grid"), id="search"),
]
PRESETS = {
    "full_batch": "# @package _global_\nhydra: {sweeper: {params: {batch_size: null, seed: '1,2'}}}\n",
    "unpackaged": "steps: 7\nlearning_rate: 0.5\n",
    "headless": "hydra: {sweeper: {params: {seed: '1,2'}}}\n",
    "torn": "# @package _global_\nsteps: [1\n",
    "misspelt": "# @package _global_\nhydra: {swepper: {params: {seed: '1,2'}}}\n",
    "of_a_search": "# @package _global_\nhydra: {sweeper: {n_trials: 9}}\n",
    "of_a_launcher": "# @package _global_\nhydra: {launcher: {n_jobs: 9}}\n",
    "momentum": "# @package _global_\ndefaults: [override /optimizer: momentum]\n",
    "losses": "# @package _global_\nhydra: {sweeper: {params: {loss: 'svm,softmax', loss.margin: '1,2'}}}\n",
}

COUNTS = {
    ("experiment=notes/minibatch,notes/optimizers", "seed=1,2"): (32, 0),
    ("experiment=notes/minibatch,notes/optimizers", "batch_size=64"): (13, 0),
    ("experiment=notes/minibatch,notes/gradient_descent", "learning_rate=0.1,0.2"): (10, 0),
    ("experiment=full_batch,losses",): (5, 1),
    ("experiment=losses",): (3, 1),
    ("loss=svm,softmax", "loss.margin=1,2"): (3, 1),
    ("loss=svm,softmax", "seed=1,2", "loss.margin=2"): (4, 0),
    ("schedule=glob(c*)",): (2, 0),
    ("optimizer=sgd,momentum", "optimizer.momentum=0.5,0.9"): (3, 1),
    ("optimizer=momentum,nesterov", "optimizer.momentum=0.5"): (2, 0),
    ("experiment=notes/optimizers", "optimizer.momentum=0.3"): (12, 0),
    ("task=train,landscape", "task.extent=1,2"): (3, 1),
    ("experiment=momentum", "optimizer.momentum=0.3"): (1, 0),
    ("strategy=random,local", "strategy.initial_scale=null"): (2, 0),
    ("task=landscape,finite_difference", "task.weights_scale=null"): (2, 0),
    ("strategy=gradient", "strategy.initial_scale=null,1"): (2, 0),
    # A lone value is swept over the default grid, as it is where all choices have its key.
    ("optimizer=momentum", "optimizer.momentum=0.3"): (10, 2),
}

REFUSED = [
    ("seed=3,-4",),
    ("loss=softmax,logistic", "loss.margin=1,2"),
    ("seed=3,4", "sweep.name=${nothing}"),
    ("batch_size=8,5000",),
    ("seed=3,4", "sweep.repeats=2"),
    ("seed=3,4", "device=cpu,cuda"),
    ("learning_rate=1,2", "stopping=halving", "stopping.min_steps=7"),
    ("hydra/sweeper=search", "batch_size=int(interval(1,901))"),
]

ON_BOTH_SIDES = [
    ("seed=1,2", "-m", "steps=20"),
    ("seed=1,2", "--multirun", "--config-dir", "mine", "steps=20"),
    ("--config-dir", "mine", "seed=1,2", "steps=20", "--multirun"),
]
BY_MODE = ("++hydra.mode=MULTIRUN", "optimizer=sgd,momentum", "optimizer.momentum=0.3")
NAMES = ("unpackaged", "misspelt", "headless", "torn", "mispelt", "of_a_search", "of_a_launcher")
WRONG = [("-m", "--config-dir", "mine", f"experiment={name}") for name in NAMES]


@pytest.fixture(scope="module")
def dry_run(tmp_path_factory):
    """Return what gives the code, stderr and stdout of a command line: all were run in one process."""
    made = tmp_path_factory.mktemp("presets")
    (made / "mine/experiment").mkdir(parents=True)
    for name, text in PRESETS.items():
        (made / f"mine/experiment/{name}.yaml").write_text(text)
    lines = [*map(swept, COUNTS), *ON_BOTH_SIDES, BY_MODE, *WRONG]
    ends = session(made, *([*line, *PLAN] for line in lines))
    return dict(zip(lines, ends, strict=True)).get


def swept(overrides):
    return ("-m", "--config-dir", "mine", *overrides)


def planned(out):
    """Return how many trials a dry run has planned, and how many points it has folded."""
    return tuple(map(int, re.search(r"(\d+) trials?, (\d+) folded", out).groups()))


def test_presets_that_are_swept_keep_their_sweeps_and_keys_go_to_the_choices_that_have_them(dry_run):
    ends = [dry_run(swept(overrides)) for overrides in COUNTS]

    assert [(code, err) for code, err, _ in ends] == [(0, "")] * len(ends)
    assert {overrides: planned(end[2]) for overrides, end in zip(COUNTS, ends, strict=True)} == COUNTS


def test_a_value_that_is_deferred_is_read_as_it_was_typed(tmp_path):
    # given a file whose name needs its quotes, of a data set that no plain choice names
    images, labels = np.zeros((6, 4), np.uint8), np.arange(6) % 2
    np.savez(tmp_path / "ü, 名.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    root = f"dataset.root='{tmp_path}/ü, 名.npz'"

    ends = session(
        tmp_path,
        ["-m", "dataset='npz'", root, "seed=1,2", "batch_size=2", PLAN[0]],
        ["-m", "dataset=npz", "dataset.root=${oc.env:HOME}/nothing", "seed=1,2", PLAN[0]],
    )

    assert ends[0][:2] == [0, ""]
    assert planned(ends[0][2]) == (2, 0)
    assert f"{os.environ['HOME']}/nothing" in ends[1][1]


@pytest.mark.parametrize("group", TABLES)
def test_each_key_that_may_be_null_may_be_null_in_a_sweep(group):
    parse = OverridesParser.create().parse_override
    fields = [(kind, name) for kind in TABLES[group].own.values() for name in field_names(kind)]
    keys = {f"{group}.{name}" for kind, name in fields if type(None) in get_args(hints_of(kind)[name])}

    for given in (f"{key}=null" for key in keys):
        (text,) = defer_conditional_keys([given])
        assert text == given or parse(text).is_sweep_override()
        assert undo_deferral(text) == given


def test_what_is_left_out_is_said(dry_run):
    _, _, out = dry_run(swept(("loss=svm,softmax", "seed=1,2", "loss.margin=2")))

    assert "loss.margin is left out of 2 of 4 points, whose loss has no such key" in out


def test_a_claim_that_is_given_back_leaves_a_sweep_that_began_inside_its_folder(tmp_path):
    claim, inside = (
        claim_folder(OmegaConf.create({"hydra": {"sweep": {"dir": str(folder)}, "overrides": {"hydra": []}}}))
        for folder in (tmp_path / "out", tmp_path / "out/deeper")
    )

    claim.give_back()
    assert [path.name for path in tmp_path.rglob("*.yaml")] == ["multirun.yaml"]
    assert (inside.folder / "multirun.yaml").is_file()

    inside.give_back()
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("sweeper", SWEEPERS)
def test_any_launcher_is_given_the_keys_that_a_job_has(tmp_path, sweeper):
    grid = ["loss=svm,softmax", "loss.margin=range(1,3)"]

    ((code, err, out),) = session(tmp_path, ["-m", "hydra/launcher=basic", *sweeper, *grid, *PLAN])

    assert (code, err) == (0, "")
    assert out.count("1 trial, 0 folded") == 4


def test_a_key_that_no_job_has_leaves_no_folder_behind(tmp_path):
    line = ["-m", "hydra/launcher=basic", "hydra.sweep.dir=out", "dataset=synthetic", "loss=softmax,logistic"]

    ((code, err, _),) = session(tmp_path, [*line, "loss.margin=1,2"])

    assert code == 2
    assert "loss.margin must be set with loss=svm or loss=squared_hinge only" in err
    assert not (tmp_path / "out/multirun.yaml").exists()


def test_a_value_that_is_refused_leaves_no_folder_behind_with_another_launcher(tmp_path):
    line = ["-m", "hydra/launcher=basic", "hydra.sweep.dir=out", "dataset=synthetic"]

    given = (["seed=3,-4"], ["learning_rate=1,2", "sweep.repeats=2"], ["seed=3,4", "stopping=asha"])
    ends = session(tmp_path, *([*line, *overrides] for overrides in given))

    assert [end[:2] for end in ends] == [
        [2, "error: seed must be >= 0, got -4\n"],
        [2, "error: sweep.repeats must be 1 without --multirun or with another hydra/launcher, got 2\n"],
        [2, "error: stopping must be none with another hydra/launcher, whose trials nothing compares, got 'asha'\n"],
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_that_is_refused_leaves_its_folder_to_the_next(tmp_path):
    """Whether its values, its jobs or its data refuse it; a folder that was there before keeps what it holds."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    common = ("-m", "dataset=synthetic", "engine=inprocess", "hydra.sweep.dir")

    def line(folder, overrides):
        return [*common[:-1], f"{common[-1]}={folder}", *overrides]

    lines = [line(folder, overrides) for folder in ("mine", "out/deeper") for overrides in REFUSED]
    ends = session(tmp_path, *lines, line("out", (*REFUSED[0], "hydra.job.chdir=true")), line("mine/notes.txt", ()))

    assert [code for code, _, _ in ends] == [2] * len(ends), ends
    assert [said for _, _, said in ends if "holds a sweep already" in said] == []
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".db") == ["mine"]
    assert (tmp_path / "mine/notes.txt").read_text() == "mine"


def test_a_value_that_only_a_job_can_resolve_is_left_to_it(tmp_path):
    line = ["-m", "hydra/launcher=basic", "hydra.sweep.dir=out", "dataset=synthetic", "seed=3,4"]

    ((_, err, _),) = session(tmp_path, [*line, "sweep.name=${oc.env:OF_ANOTHER_MACHINE}"])

    assert "OF_ANOTHER_MACHINE" in err
    assert (tmp_path / "out/multirun.yaml").exists()  # the jobs have begun


def test_presets_are_told_what_is_wrong_with_them(dry_run):
    codes, (unpackaged, misspelt, headless, torn, unknown, *of_others), _ = zip(*map(dry_run, WRONG), strict=True)

    assert set(codes) == {2}
    assert "experiment is no group of keys, but holds learning_rate, steps: the file of experiment=CHOICE" in unpackaged
    assert "'# @package _global_'" in unpackaged
    assert "In 'experiment/misspelt': hydra.swepper is no key of Hydra's config, did you mean hydra.sweeper" in misspelt
    assert "experiment is no group of keys, but holds hydra: the file of experiment=CHOICE" in headless
    assert re.search(r"torn\.yaml\", line 2, column 8 expected ',' or ']', but got", torn)
    assert re.search(r"experiment must be one of .*misspelt, .*, got 'mispelt' \(did you mean 'misspelt'\?\)", unknown)
    assert [told.partition(" (")[0] for told in of_others] == [
        "error: hydra.sweeper.n_trials is no key of the sweeper that is chosen",
        "error: hydra.launcher.n_jobs is no key of the launcher that is chosen",
    ]


def test_a_multirun_by_its_mode_has_keys_of_some_choices_too(dry_run):
    code, err, out = dry_run(BY_MODE)

    assert (code, err, planned(out)) == (0, "", (2, 0))


@pytest.mark.parametrize("line", ON_BOTH_SIDES, ids=" ".join)
def test_overrides_may_stand_on_both_sides_of_an_option(dry_run, line):
    code, err, out = dry_run(line)

    assert (code, err) == (0, "")
    assert planned(out) == (2, 0)


@pytest.mark.parametrize("place", [".", "..", "out", "out/deeper"])
def test_a_folder_that_holds_a_sweep_already_is_left_alone(tmp_path, monkeypatch, place):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    tracking = {"uri": f"http://ann:{SECRET}@host"}
    config = {"tracking": tracking, "hydra": {"sweep": {"dir": place}, "overrides": {"hydra": []}}}

    claimed = [claim_folder(OmegaConf.create(config)) for _ in range(3)]

    assert [claim.moved for claim in claimed] == [False, True, True]
    inside = place in {".", ".."}
    others = [here / place / f"sweep-{n}" if inside else here / f"{place}-{n}" for n in (2, 3)]
    assert all((folder / "multirun.yaml").is_file() for folder in [here / place, *others])
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir() and "sweep" not in path.name) == ["here"]
    assert holding(tmp_path) == []  # from the start: a sweep may be killed


@pytest.mark.parametrize("name", ["a=b, c", "it's", r"a\b", "at the end\\", r"\'"])
def test_the_jobs_of_a_second_sweep_are_composed_with_its_folder_whatever_its_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    config = {"hydra": {"sweep": {"dir": name}, "overrides": {"hydra": []}}}

    *_, second = made = [OmegaConf.create(config) for _ in range(2)]
    assert [claim_folder(one).moved for one in made] == [False, True]

    (override,) = second.hydra.overrides.hydra
    assert OverridesParser.create().parse_override(override).value() == f"{name}-2"
    assert (tmp_path / f"{name}-2").is_dir()


@pytest.mark.parametrize("sweeper", SWEEPERS)
def test_a_dry_run_is_no_sweep_for_the_one_that_follows(tmp_path, sweeper):
    command = ["-m", *sweeper, "seed=range(1,3)", "hydra.sweep.dir=out", PLAN[1]]

    ends = session(tmp_path, [*command, PLAN[0]], [*command, "sweep.dry_run=${oc.env:DRY}"], DRY="true")

    assert [(code, err) for code, err, _ in ends] == [(0, "")] * 2
    assert list(tmp_path.iterdir()) == []
