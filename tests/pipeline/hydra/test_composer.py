import itertools

import pytest
from hydra._internal.utils import create_config_search_path
from hydra.core.utils import setup_globals
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import OmegaConf

from pipeline.hydra import register
from pipeline.hydra.composer import Composer
from pipeline.hydra.search_path import CONF


@pytest.fixture
def loader():
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    setup_globals()
    register()
    return ConfigLoaderImpl(create_config_search_path(CONF))


def master_of(loader):
    return loader.load_configuration(
        "config", ["seed=1,2", "hydra.verbose=false"], run_mode=RunMode.MULTIRUN, from_shell=False
    )


JOBS = [
    *itertools.product(["loss=svm", "loss=softmax"], ["learning_rate=1e-3", "learning_rate=5"], ["batch_size=null"]),
    ("data_seed=${seed}", "seed=7"),
    ("seed=7", "trial.record_every=5", "sweep.name='a b, c=d'"),
    ("learning_rate=${learning_rates.low}", "+learning_rates={low: 0.5}"),
    ("~schedule", "loss.margin=3"),
    ("+note=hello", "seed=3"),
    ("++loss.margin=4",),
    ("sweep.name=${now:%Y}", "strategy=local", "strategy.initial_scale=0.5"),
    ("sweep.name=trial-${hydra:job.num}",),
    ("experiment=notes/strategies", "steps=5"),
    ("cluster={workers: 3}", "cluster.workers=4"),
    ("tracking.experiment=x", "tracking.experiment=y"),
    ("model=mlp", "model.hidden=[10,'${seed}']", "sweep.over=[seed]"),
    ("model=mlp", "model.hidden=[]"),
    ("cluster.resources={tpu: 1, other: '${seed}'}", "cluster.resources.tpu=2"),
    ("model=mlp", "model.hidden=10"),
    ("dataset=table", "dataset.root=x", "dataset.label=y", "dataset.features=[a,'b c']"),
    (),
]


@pytest.mark.parametrize("overrides", JOBS, ids=" ".join)
def test_a_job_is_composed_as_hydra_composes_it(loader, overrides):
    master = master_of(loader)

    job = Composer(loader, master).compose(overrides, 3)

    expected = loader.load_sweep_config(master, list(overrides))
    expected.hydra.job.id, expected.hydra.job.num = "3", 3
    assert OmegaConf.to_container(job.config(), resolve=False) == OmegaConf.to_container(expected, resolve=False)
    from hydra.core.hydra_config import HydraConfig

    HydraConfig.instance().set_config(expected)
    resolved = {k: v for k, v in expected.items_ex(resolve=False) if k != "hydra"}
    plain = OmegaConf.create(resolved)
    OmegaConf.copy_cache(from_config=expected, to_config=plain)
    assert job.resolved() == OmegaConf.to_container(plain, resolve=True)


def test_the_time_is_the_same_for_all_jobs_whatever_they_choose(loader):
    composer = Composer(loader, master_of(loader))
    OmegaConf.register_new_resolver("tenfold", lambda number: 10 * number, use_cache=True, replace=True)
    job, choices = "sweep.name=${now:%f}", ("loss=svm", "loss=softmax", "seed=1", "seed=2")

    jobs = [composer.compose((choice, job), number) for number, choice in enumerate(choices)]

    assert len({job.resolved()["sweep"]["name"] for job in jobs}) == 1
    # but what a resolver of the user's returns is each job's own
    jobs = [composer.compose(("steps='${tenfold:${seed}}'", f"seed={seed}"), seed) for seed in (1, 2)]
    assert [job.resolved()["steps"] for job in jobs] == [10, 20]
    OmegaConf.clear_resolver("tenfold")


def test_jobs_do_not_share_what_is_set_on_them(loader):
    composer = Composer(loader, master_of(loader))

    jobs = [composer.compose((f"trial.record_every={n}",), n) for n in (1, 2)]

    assert [job.values["trial"]["record_every"] for job in jobs] == [1, 2]


def test_values_alone_are_composed_by_hydra_once(loader, monkeypatch):
    composer = Composer(loader, master_of(loader))
    composed = []
    load = loader.load_sweep_config
    monkeypatch.setattr(loader, "load_sweep_config", lambda *args: composed.append(args) or load(*args))

    for loss, seed in itertools.product(("svm", "softmax"), range(50)):
        composer.compose((f"loss={loss}", f"seed={seed}", "sweep.over=[seed]", "cluster.labels={a: b}"), seed)

    assert len(composed) == 2


def test_a_misspelt_key_has_hydras_own_message(loader):
    with pytest.raises(ConfigCompositionException, match="Could not override 'learning_rat'"):
        Composer(loader, master_of(loader)).compose(("learning_rat=1",), 0)
