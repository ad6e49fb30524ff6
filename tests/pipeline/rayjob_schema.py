"""The parts of a RayJob of ray.io/v1 that ``conf/cluster/deploy/kuberay.yaml`` uses, as a JSON schema.

Written by hand after the types of KubeRay 1.6 (``rayjob_types.go``, ``raycluster_types.go``) and of Kubernetes'
pods. A key that is not listed here is refused, so that a misspelt one is found; that KubeRay knows many more is
no concern of ours. Of a pod it covers containers with their image, resources, environment and mounts, the volumes
and the security context.
"""

from __future__ import annotations

from typing import Any


def record(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    """Return the schema of an object with these keys and no other."""
    return {
        "type": "object",
        "required": list(required),
        "properties": required | optional,
        "additionalProperties": False,
    }


TEXT = {"type": "string", "minLength": 1}
NAME = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 47}
COUNT = {"type": "integer", "minimum": 0}
FLAG = {"type": "boolean"}
QUANTITY = {"anyOf": [COUNT, {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"}]}
RESOURCES = {"type": "object", "propertyNames": {"enum": ["cpu", "memory", "nvidia.com/gpu"]}}
RESOURCES |= {"additionalProperties": QUANTITY}
START_PARAMS = {"type": "object", "additionalProperties": {"type": "string"}}

SECRET = record({"secretKeyRef": record({"name": NAME, "key": TEXT}, optional=FLAG)})
VARIABLE = record({"name": TEXT, "valueFrom": SECRET})
MOUNT = record({"name": NAME, "mountPath": {"type": "string", "pattern": "^/"}})
CONTAINER = record(
    {"name": NAME, "image": TEXT, "resources": record({"requests": RESOURCES, "limits": RESOURCES})},
    env={"type": "array", "items": VARIABLE},
    volumeMounts={"type": "array", "items": MOUNT},
)
VOLUME = record({"name": NAME, "persistentVolumeClaim": record({"claimName": NAME})})
POD = record(
    {"containers": {"type": "array", "minItems": 1, "items": CONTAINER}},
    securityContext=record({"fsGroup": COUNT}),
    volumes={"type": "array", "items": VOLUME},
)
TEMPLATE = record({"spec": POD})
WORKERS = record(
    {"groupName": NAME, "rayStartParams": START_PARAMS, "template": TEMPLATE},
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
)
CLUSTER = record(
    {
        "headGroupSpec": record({"rayStartParams": START_PARAMS, "template": TEMPLATE}),
        "workerGroupSpecs": {"type": "array", "minItems": 1, "items": WORKERS},
    },
    rayVersion={"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
    authOptions=record({"mode": {"enum": ["disabled", "token"]}}),
    enableInTreeAutoscaling=FLAG,
    autoscalerOptions=record({"idleTimeoutSeconds": COUNT}),
)
JOB = record(
    {"entrypoint": TEXT, "rayClusterSpec": CLUSTER}, shutdownAfterJobFinishes=FLAG, ttlSecondsAfterFinished=COUNT
)
RAYJOB = record(
    {
        "apiVersion": {"const": "ray.io/v1"},
        "kind": {"const": "RayJob"},
        "metadata": record({"name": NAME, "namespace": NAME}),
        "spec": JOB,
    }
)
