"""The manifests of `python -m pipeline.deploy`: right by their schemas and by Ray's own readers, and their job runs."""

import functools
import gzip
import importlib.metadata
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.autoscaler._private.util import prepare_config, validate_config

from pipeline.config.schema import parse
from pipeline.deploy.command import TARGETS, main, node_count, render

ROOT = Path(__file__).parents[2]
CRD = ROOT / ".." / "shared" / "data" / "kuberay-rayjobs-crd.yaml.gz"
GPUS = ["device=cuda", "cluster.gpus_per_worker=0.25", "cluster.workers=10"]
CPUS = ["cluster.workers=10", "cluster.cpus_per_worker=3", "deploy.cpus=7"]
JOBS = [CPUS, GPUS, ["experiment=notes/strategies", *CPUS]]


@functools.cache
def manifest(target, *overrides):
    return render(target, overrides)


def rendered(target, *overrides):
    return yaml.safe_load(manifest(target, *overrides))


def strict(schema):
    """Return a schema of Kubernetes as its server reads it when it is strict: what is not listed is refused."""
    schema = dict(schema)
    inner = schema.get("properties", {})
    schema["properties"] = {name: strict(of) for name, of in inner.items()}
    schema["required"] = [name for name in schema.get("required", []) if "default" not in inner[name]]
    for name in {"items", "additionalProperties"} & schema.keys():
        schema[name] = strict(schema[name])
    if schema.get("type") == "object" and not schema.get("x-kubernetes-preserve-unknown-fields"):
        schema.setdefault("additionalProperties", False)
    return schema


@pytest.fixture(scope="module")
def faults():
    """Return what lists the faults of a RayJob by the definition that KubeRay installs."""
    if not CRD.is_file():
        pytest.skip(f"KubeRay's definition of a RayJob is not beside the checkout ({CRD.resolve()})")
    definition = yaml.load(gzip.decompress(CRD.read_bytes()), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    spec = definition["spec"]
    (schema,) = (of["schema"]["openAPIV3Schema"] for of in spec["versions"] if of["name"] == "v1")
    own = schema["properties"]
    own["apiVersion"] = {"const": f"{spec['group']}/v1"}
    own["kind"] = {"const": spec["names"]["kind"]}
    own["metadata"] = own["spec"]["properties"]["submitterPodTemplate"]["properties"]["metadata"]  # else it is any
    whole = jsonschema.Draft202012Validator(strict(schema | {"required": ["apiVersion", "kind", "metadata", "spec"]}))
    return lambda job: [f"{error.json_path}: {error.message}" for error in whole.iter_errors(job)]


@pytest.mark.parametrize("overrides", JOBS)
def test_the_kuberay_job_is_right_by_the_definition_of_kuberay(overrides, faults):
    assert faults(rendered("kuberay", *overrides)) == []


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("kind", "RayCluster", "'RayJob' was expected"),
        ("metadata.nam", "x", "'nam' was unexpected"),
        ("spec.entrypoints", "x", "'entrypoints' was unexpected"),
        ("spec.rayClusterSpec.headGroupSpec", None, "'headGroupSpec' is a required property"),
        ("spec.rayClusterSpec.authOptions.mode", "tokens", "'tokens' is not one of"),
        ("spec.rayClusterSpec.headGroupSpec.rayStartParams.num-cpus", 0, "0 is not of type 'string'"),
        ("spec.rayClusterSpec.workerGroupSpecs.0.replicas", "3", "'3' is not of type 'integer'"),
        ("spec.rayClusterSpec.workerGroupSpecs.0.template.spec.containers.0.img", "x", "'img' was unexpected"),
        ("spec.rayClusterSpec.workerGroupSpecs.0.template.spec.containers.0.resources.limits.cpu", 7.5, "7.5 is not"),
        ("spec.rayClusterSpec.workerGroupSpecs.0.template.spec.containers.0.resources.limits.cpu", "7c", "'7c' does"),
    ],
)
def test_the_definition_of_kuberay_refuses_a_job_that_is_not_right(path, value, message, faults):
    job = holder = rendered("kuberay", *CPUS)
    *outer, last = path.split(".")
    for name in outer:
        holder = holder[int(name) if name.isdigit() else name]
    holder[last] = value
    if value is None:
        del holder[last]

    (fault,) = faults(job)
    assert message in fault


@pytest.mark.parametrize("overrides", JOBS)
def test_the_kuberay_job_is_readable_for_the_autoscaler_of_ray(overrides):
    job = rendered("kuberay", *overrides)
    cluster = job["spec"]["rayClusterSpec"]
    found = _derive_autoscaling_config_from_ray_cr({"metadata": job["metadata"], "spec": cluster})

    types = found["available_node_types"]
    assert types["headgroup"]["resources"]["CPU"] == 0
    assert cluster["rayVersion"] == importlib.metadata.version("ray")
    if overrides is GPUS:  # four workers share a node's GPU
        assert types["workers"]["resources"] | {"memory": 0} == {"CPU": 8, "GPU": 1, "memory": 0}
        assert types["workers"]["max_workers"] == 3
    else:  # two workers of 3 CPUs on a node of 7
        assert types["workers"]["resources"] | {"memory": 0} == {"CPU": 7, "memory": 0}
        assert types["workers"]["max_workers"] == 5


@pytest.mark.parametrize("overrides", [CPUS, GPUS])
def test_the_ray_cluster_is_right_by_the_schema_of_ray(overrides):
    cluster = prepare_config(rendered("ray", *overrides))

    validate_config(cluster)
    worker = cluster["available_node_types"]["worker"]
    assert worker["resources"] == ({"CPU": 8, "GPU": 1} if overrides is GPUS else {"CPU": 7})
    assert worker["max_workers"] == cluster["max_workers"] == (3 if overrides is GPUS else 5)


def test_a_share_of_a_gpu_is_not_spread_over_two():
    config = parse({"device": "cuda", "cluster": {"workers": 10, "gpus_per_worker": 0.4}})

    assert node_count(config, cpus=8, gpus=2) == 3  # four on a node


@pytest.mark.parametrize("target", TARGETS)
def test_the_job_runs_the_overrides_as_they_were_given(target):
    given = [*CPUS[:2], "learning_rate=1e-3,1e-2", "schedule=glob(c*)", "sweep.name='a b'"]
    given += ["dataset=npz", "dataset.root=${oc.env:HOME}/x"]

    text = render(target, [*given, "deploy.name=mine"])

    if target == "kuberay":
        command = yaml.safe_load(text)["spec"]["entrypoint"]
    else:
        (line,) = (line for line in text.splitlines() if line.startswith("# ray exec"))
        command = shlex.split(line)[-1]
    words = shlex.split(command)
    start = words.index("--multirun")
    assert words[start + 1 :] == ["tracking.uri=${oc.env:MLFLOW_TRACKING_URI}", *given, "cluster=existing"]
    assert "mine" in text
    assert "${deploy" not in text


@pytest.mark.parametrize(
    "overrides",
    [["loss=softmax,svm", "loss.margin=1,2"], ["experiment=notes/optimizers", "optimizer.momentum=0.3"]],
    ids=" ".join,
)
def test_a_key_that_the_first_of_the_swept_choices_lacks_goes_to_the_job(overrides):
    job = rendered("kuberay", *CPUS, *overrides)

    assert set(overrides) < set(shlex.split(job["spec"]["entrypoint"]))
    assert job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["replicas"] == 5


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["tracking.uri=postgresql://ann:hush@host/mlflow", *CPUS], "tracking.uri must hold no password"),
        (["steps=5"], "cluster.workers must be given"),
        ([*CPUS, "deploy.cpus=2"], "cluster.cpus_per_worker must be <= deploy.cpus=2, got 3"),
        ([*CPUS, "deploy.cpus=7.5"], "deploy.cpus must be a whole number, got 7.5"),
        (["cluster.workers=1", "cluster.gpus_per_worker=2"], "cluster.gpus_per_worker must be <= deploy.gpus=1, got 2"),
        ([*CPUS, "cluster.labels={zone:a}"], "cluster.labels must be left out"),
        ([*CPUS, "device=cuda"], "cluster.gpus_per_worker must be > 0 for device=cuda"),
        ([*CPUS, "learning_rat=1,2"], "did you mean learning_rate"),
        ([*CPUS, "seed=glob(*)"], "seed must have at least one value, got seed=glob(*)"),
        ([*CPUS, "deploy.name=[a]"], "deploy.name must be a string, got ['a']"),
        ([*CPUS, "deploy.ray=true"], "deploy.ray must be a string, got True"),
        ([*CPUS, "deploy.nodes=1.5"], "deploy.nodes must be a whole number, got 1.5"),
        ([*CPUS, "deploy.nodes=0"], "deploy.nodes must be >= 1, got 0"),
        ([*CPUS, "deploy.min_nodes=6"], "deploy.min_nodes must be 0 to deploy.nodes=5, got 6"),
        ([*CPUS, "deploy.steps=null"], "deploy.steps must be left as it is, or be given by its keys, got None"),
        ([*CPUS, "deploy.overrides=x"], "deploy.overrides must be left as it is, or be given by its keys, got 'x'"),
        ([*CPUS, "deploy.imag=x"], "deploy.KEY must be one of claim, cpus, "),
        ([*CPUS, "deploy.imag=x"], "got 'imag' (did you mean 'image'?)"),
        ([*CPUS, "loss=softmax", "loss.margin=1,2"], "loss.margin must be set with loss=svm or"),
    ],
)
def test_what_cannot_be_deployed_is_one_message(overrides, message, capsys, tmp_path):
    file = tmp_path / "job.yaml"

    assert main(["kuberay", *overrides, "--output", str(file)]) == 2

    told = capsys.readouterr()
    assert message in told.err
    assert "hush" not in told.out + told.err
    assert not file.exists()


def test_a_name_that_reads_like_a_number_is_a_text_of_the_manifest():
    job = rendered("kuberay", *CPUS, "deploy.claim=16", "deploy.name=7", "deploy.min_nodes=0")

    assert job["metadata"]["name"] == "7"
    spec = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    assert spec["volumes"] == [{"name": "data", "persistentVolumeClaim": {"claimName": "16"}}]


def test_every_command_that_is_written_down_renders(capsys):
    texts = [ROOT / ".github/CLUSTERS.md", *(ROOT / "conf/cluster/deploy").glob("*.yaml")]
    found = [
        line
        for text in texts
        for line in re.findall(r"python -m pipeline\.deploy (k[^`\n#>]*|r[^`\n#>]*)", text.read_text())
    ]
    assert len(found) >= len(TARGETS)

    for arguments in found:
        assert main([word for word in shlex.split(arguments) if "yaml" not in word and word != "--output"]) == 0, (
            arguments
        )
        assert yaml.safe_load(capsys.readouterr().out)


@pytest.mark.slow
def test_the_entrypoint_runs_and_keeps_the_address_of_mlflow_to_itself(tmp_path):
    (tmp_path / "my data").mkdir()
    sweep = ["engine=inprocess", "cluster.workers=1", "learning_rate=1e-3,1e-2", "steps=3", "dataset=synthetic"]
    sweep += ["tracking.register_model=false"]
    file = tmp_path / "job.yaml"
    assert main(["kuberay", *sweep, f"deploy.data={tmp_path / 'my data'}", "--output", str(file)]) == 0
    entrypoint = yaml.safe_load(file.read_text())["spec"]["entrypoint"]
    store = tmp_path / "hush.db"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

    end = subprocess.run(
        ["/bin/sh", "-c", entrypoint],
        env={**os.environ, "PATH": path, "MLFLOW_TRACKING_URI": f"sqlite:///{store}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )

    assert end.returncode == 0, end.stderr
    assert store.is_file()
    # The log names its store, without a password, since what the store lacks is written from it.
    folder = tmp_path / "my data" / "multirun"
    kept = [path for path in folder.rglob("*") if path.is_file() and not path.match("record-*.log")]
    assert len(kept) > 2
    assert [path for path in kept if b"hush" in path.read_bytes()] == []
