"""Whatever a job may see is the same in a single run, in our multirun, and with Hydra's own launcher and sweeper."""

import contextlib
import io
import logging
import os
import sys

import pytest
from hydra.core.utils import JobStatus
from omegaconf import OmegaConf

from pipeline.cli import app
from pipeline.config.schema import describe
from pipeline.errors import TrialsFailedError
from pipeline.hydra import launcher
from pipeline.sweep import run
from tests.pipeline.hydra import watching
from tests.pipeline.secret import SECRET

HYDRAS_OWN = ("hydra/launcher=basic", "hydra/sweeper=basic")
WATCH = "+hydra.callbacks.watching._target_=tests.pipeline.hydra.watching.Watching"

ITS_FOLDER = "sweep.name=${hydra:runtime.output_dir}"

ASKED = [
    (
        "sweep.name=${hydra:job.name}-${seed}",
        "data_seed=${seed}",
        "tracking.uri=${now:%Y-%m-%d}",
        "tracking.experiment=${python_version:}-${hydra:job.config_name}",
        *("steps=${oc.env:NUMBER}", "learning_rate=${oc.env:NUMBER}", "batch_size='${oc.decode:${oc.env:NUMBER}}'"),
    ),
    (
        "sweep.name=${hydra:runtime.output_dir}",
        "tracking.uri=${hydra:runtime.cwd}",
        "tracking.experiment=${oc.env:MYEXP}",
        "+hydra.job.env_set.MYEXP=foo",
    ),
    (
        "loss=softmax",
        "sweep.name=${hydra:job.override_dirname}",
        "tracking.uri=${hydra:runtime.choices.loss}",
        "tracking.experiment=${hydra:overrides.task.0}",
        "hydra.job.config.override_dirname.exclude_keys=[sweep.name,tracking.uri,tracking.experiment]",
    ),
    ("sweep.name=${oc.select:loss.margin,none}", "tracking.uri='\\${seed}'", "tracking.experiment='a b, \"c\"=d'"),
    (
        "sweep.name=${here:}",
        "tracking.uri=${asked:seed}",
        "tracking.experiment=${oc.env:MYEXP}",
        "+hydra.job.env_set.MYEXP='${oc.env:COPIED}-${hydra.job.name}'",
    ),
    (
        "sweep.name=${here:}",
        "hydra.job.chdir=false",
        "tracking.uri='${oc.env:NOWHERE,${seed}}'",
        "tracking.experiment=${oc.env:COPIED}",
        "hydra.job.env_copy=[COPIED]",
    ),
    (
        "sweep.name=${asked:seed}-${here:}",
        "hydra.job.chdir=true",
        "+hydra.job.env_set.MYEXP=1",
        "+tracking={experiment: '${hydra:job.name}'}",
    ),
]

OF_SEVERAL = [
    (
        "sweep.name=${hydra:job.num}-${hydra:job.id}",
        "tracking.uri='in ${hydra:mode}'",
        "tracking.experiment=${hydra:sweep.dir}/${hydra:sweep.subdir}",
        "hydra.sweep.dir=out",
        "hydra.sweep.subdir='${hydra:job.num}'",
    ),
    (ITS_FOLDER, "hydra.sweep.dir=out", "hydra.sweep.subdir='${hydra.job.num}-${hydra.job.override_dirname}'"),
    (ITS_FOLDER, "hydra.sweep.dir='out/${seed}'"),
    (ITS_FOLDER, "hydra.sweep.dir='out/${loss.name}'", "loss=softmax"),
]


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    from hydra.core.hydra_config import HydraConfig

    monkeypatch.setenv("COPIED", "copied")
    monkeypatch.setenv("NUMBER", "20")
    OmegaConf.register_new_resolver("here", os.getcwd, replace=True)
    OmegaConf.register_new_resolver(
        "asked", lambda key: OmegaConf.select(HydraConfig.get()._get_root(), key), replace=True
    )
    watching.SEEN.clear()
    yield
    OmegaConf.clear_resolver("here")
    OmegaConf.clear_resolver("asked")


def command(folder, *arguments, value=0.5):
    """Run a command line up to where the sweep would begin; return each job's config, and what is around them then.

    ``value`` is what the sweep returns for each job.
    """
    jobs, around = {}, []

    def lone(point, folder):
        around.append(watching.surroundings())
        jobs[len(jobs)] = describe(point.config)
        return 0.5

    class Live(contextlib.nullcontext):
        def __init__(self, *arguments, **options):
            super().__init__(self)

        def run(self, source, *, last, meanwhile):
            meanwhile()
            points = source.more(12)
            around.append(watching.surroundings())
            jobs.update({point.index: describe(point.config) for point in points})
            return {point.index: value for point in points}

    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(folder):
        patch.setattr(sys, "argv", ["pipeline", *arguments])
        patch.setattr(run, "run_trial", lone)
        patch.setattr(launcher, "LiveSweep", Live)
        with contextlib.redirect_stdout(io.StringIO()):
            app.main()
    return without_folder(jobs, folder), without_folder(around, folder)


def without_folder(values, folder):
    """Return values with the folder of the command by one name, so that those of several can be compared."""
    if isinstance(values, dict):
        return {without_folder(key, folder): without_folder(value, folder) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [without_folder(value, folder) for value in values]
    return values.replace(str(folder), "FOLDER") if isinstance(values, str) else values


@pytest.mark.parametrize("overrides", ASKED, ids=" ".join)
def test_a_job_has_the_same_config_alone_in_our_multirun_and_in_hydras(tmp_path, overrides):
    many = ("-m", *overrides, "seed=3,4", "hydra.sweep.dir=out")

    ours, _ = command(tmp_path / "ours", *many)
    hydras, _ = command(tmp_path / "hydras", *many, *HYDRAS_OWN)
    alone, _ = command(tmp_path / "alone", *overrides, "seed=3", "hydra.run.dir=out/0")

    assert len(ours) == 2
    assert ours == hydras
    assert ours[0] == alone[0]


@pytest.mark.parametrize("overrides", OF_SEVERAL, ids=" ".join)
def test_a_job_of_several_has_the_same_config_in_our_multirun_and_in_hydras(tmp_path, overrides):
    ours, _ = command(tmp_path / "ours", "-m", *overrides, "seed=3,4")
    hydras, _ = command(tmp_path / "hydras", "-m", *overrides, "seed=3,4", *HYDRAS_OWN)

    assert len(ours) == 2
    assert ours == hydras


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        (
            "+hydra.job.env_set.MYEXP=foo",
            "hydra.job.env_copy=[COPIED]",
            "hydra.verbose=true",
            "hydra.sweep.subdir='run-${seed}'",
            "+tracking={register_model: false}",
        ),
        ("hydra.verbose=[pipeline]", "hydra/job_logging=stdout"),
        ("hydra/job_logging=none", "hydra/hydra_logging=none", "hydra.output_subdir=null"),
        ("hydra.output_subdir=.config", "hydra.job.name=mine", "hydra.job.chdir=true"),
    ],
    ids=" ".join,
)
def test_callbacks_see_what_they_see_of_hydras_own_launcher(tmp_path, overrides):
    many = ("-m", WATCH, *overrides, "seed=3,4", "hydra.sweep.dir=out")

    def seen(folder, *more):
        watching.SEEN.clear()
        command(folder, *many, *more)
        return sorted(without_folder(watching.SEEN, folder), key=lambda event: (event[0], event[1]))

    ours, hydras = seen(tmp_path / "ours"), seen(tmp_path / "hydras", *HYDRAS_OWN)

    assert [event[:2] for event in ours] == [["end", 0], ["end", 1], ["multirun end", 2], ["start", 0], ["start", 1]]
    for one, other in zip(ours, hydras, strict=True):
        assert without_plugins(one) == without_plugins(other)


def without_plugins(event):
    """Return what is seen but for the names of the plug-ins themselves."""
    kind, number, seen = event
    for hydra in (seen.get("hydra"), seen.get("hydra_cfg", {}).get("hydra"), seen.get("config", {}).get("hydra")):
        if hydra is not None:
            del hydra["launcher"], hydra["sweeper"], hydra["overrides"]["hydra"]
            del hydra["runtime"]["choices"]["hydra/launcher"], hydra["runtime"]["choices"]["hydra/sweeper"]
    return kind, number, seen


def test_a_sweep_has_what_its_jobs_have_in_common(tmp_path):
    common = ("+hydra.job.env_set.MYEXP=foo", "hydra.job.chdir=true", "hydra.verbose=true", "hydra.sweep.dir=out")

    _, (around,) = command(tmp_path / "ours", "-m", *common, "seed=3,4")

    assert around["environment"]["MYEXP"] == "foo"
    assert around["here"] == around["output_dir"] == "FOLDER/out"
    assert around["logs"] == ["FOLDER/out/pipeline.log"]
    assert around["level"] == logging.DEBUG


def test_the_log_of_a_search_stays_that_of_its_sweep_whatever_jobs_begin_meanwhile(tmp_path):
    search = ("hydra/sweeper=search", "hydra.sweeper.n_trials=3")  # the default sampler: one proposal, then the others

    jobs, (around,) = command(tmp_path / "ours", "-m", WATCH, *search, "seed=range(9)", "hydra.sweep.dir=out")

    assert len(jobs) == 3
    assert around["logs"] == ["FOLDER/out/pipeline.log"]


def test_jobs_with_environments_of_their_own_are_refused(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        command(tmp_path / "ours", "-m", "+hydra.job.env_set.MYEXP='${seed}'", "seed=3,4", "hydra.sweep.dir=out")

    assert (
        "hydra.job.env_set.MYEXP must be the same in all trials of a sweep, got '3' and '4'" in capsys.readouterr().err
    )


def test_the_files_of_a_job_are_those_that_hydra_writes(tmp_path):
    many = ("-m", "seed=3,4", "loss=softmax", "+hydra.job.env_set.MYEXP=foo", "hydra.sweep.dir=out")

    def files(name, *more):
        command(tmp_path / name, *many, *more)
        found = {path.relative_to(tmp_path / name): path for path in (tmp_path / name).glob("out/*/.hydra/*.yaml")}
        read = {path: OmegaConf.to_container(OmegaConf.load(found[path])) for path in found}
        return {path: without_folder(values, tmp_path / name) for path, values in read.items()}

    ours, hydras = files("ours"), files("hydras", *HYDRAS_OWN)

    assert len(ours) == 6
    for path, values in ours.items():
        if path.name == "hydra.yaml":
            for one in (values, hydras[path]):
                without_plugins(("file", 0, {"hydra": one["hydra"]}))
        assert values == hydras[path]


@pytest.mark.parametrize("search", [(), ("hydra/sweeper=search", "hydra.sweeper.n_trials=3")], ids=["grid", "search"])
def test_more_jobs_than_a_sweep_has_folders_for_are_in_one_file(tmp_path, search):
    many = ("-m", *search, "seed=3,4,5", "loss=softmax", "hydra.sweep.dir=out")
    command(tmp_path / "each", *many)
    command(tmp_path / "together", *many, "sweep.job_folders=2")

    (file,) = (path for path in (tmp_path / "together" / "out").iterdir() if path.name == "jobs.yaml")
    told = OmegaConf.to_container(OmegaConf.load(file))

    assert [one["folder"] for one in told] == ["0", "1", "2"]
    for one in told:
        folder = tmp_path / "each" / "out" / one["folder"] / ".hydra"
        config = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
        config["sweep"]["job_folders"] = 2
        assert one["config"] == config
        assert one["overrides"] == [*OmegaConf.load(folder / "overrides.yaml"), "sweep.job_folders=2"]
    assert not list((tmp_path / "together" / "out").glob("*/.hydra"))


def test_a_sweep_that_fails_ends_its_jobs(tmp_path):
    with pytest.raises(SystemExit, match="2"):
        command(tmp_path / "ours", "-m", WATCH, "seed=3,-4", "hydra.sweep.dir=out")

    ends = [(number, seen["status"], str(seen["value"])) for kind, number, seen in watching.SEEN if kind == "end"]
    assert ends == [(number, JobStatus.FAILED, "seed must be >= 0, got -4") for number in (0, 1)]


def test_the_overrides_of_a_failed_job_are_shown_without_a_password(tmp_path, capsys):
    where = f"tracking.uri=postgresql://ann:{SECRET}@host/db"

    with pytest.raises(SystemExit, match="1"):
        command(tmp_path / "ours", "-m", "seed=3,4", where, value=TrialsFailedError("the trial failed"))

    told = capsys.readouterr().err
    assert "Error executing job with overrides: ['seed=3', 'tracking.uri=" in told
    assert "***@host/db" in told
    assert SECRET not in told


def test_an_unexpected_error_of_a_lone_trial_is_shown_without_the_overrides_of_hydra(tmp_path, capsys, monkeypatch):
    # given an error that is nobody's choice, and a password among the overrides
    monkeypatch.setattr(watching, "surroundings", lambda: {}["a bug"])

    with pytest.raises(KeyError, match="a bug"):
        command(tmp_path / "ours", f"tracking.uri=postgresql://ann:{SECRET}@host/db")

    assert capsys.readouterr().err == ""
