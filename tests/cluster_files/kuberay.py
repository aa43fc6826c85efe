"""The fields of KubeRay's objects that cosweep uses, as a JSON schema kept by hand: no package has KubeRay's own.

Names and values as in KubeRay's types of its API ray.io/v1, ray-operator/apis/ray/v1/raycluster_types.go and
rayjob_types.go, where ``authOptions`` came with release 1.5.1. Templates of pods are left to Kubernetes' schema.
"""

from __future__ import annotations

from typing import Any


def fields(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    """Schema of an object that has these fields and no others."""
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


TEXT = {"type": "string"}
FLAG = {"type": "boolean"}
COUNT = {"type": "integer", "minimum": 0}
TEXTS = {"type": "object", "additionalProperties": TEXT}
BY_KUBERNETES = {"type": "object"}

METADATA = fields(("name", "namespace"), name=TEXT, namespace=TEXT, labels=TEXTS, annotations=TEXTS)
CLUSTER_SPEC = fields(
    ("headGroupSpec", "rayVersion"),
    rayVersion=TEXT,
    authOptions=fields(mode={"enum": ["disabled", "token"]}, secretName=TEXT),
    enableInTreeAutoscaling=FLAG,
    autoscalerOptions=fields(
        idleTimeoutSeconds=COUNT,
        upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
        resources=BY_KUBERNETES,
        securityContext=BY_KUBERNETES,
        env={"type": "array"},
        volumeMounts={"type": "array"},
    ),
    headGroupSpec=fields(
        ("rayStartParams", "template"),
        serviceType={"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
        rayStartParams=TEXTS,
        template=BY_KUBERNETES,
    ),
    workerGroupSpecs={
        "type": "array",
        "items": fields(
            ("groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"),
            groupName=TEXT,
            replicas=COUNT,
            minReplicas=COUNT,
            maxReplicas=COUNT,
            rayStartParams=TEXTS,
            template=BY_KUBERNETES,
        ),
    },
)
JOB_SPEC = fields(
    ("entrypoint", "rayClusterSpec"),
    entrypoint=TEXT,
    runtimeEnvYAML=TEXT,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "SidecarMode", "InteractiveMode"]},
    shutdownAfterJobFinishes=FLAG,
    ttlSecondsAfterFinished=COUNT,
    activeDeadlineSeconds=COUNT,
    backoffLimit=COUNT,
    submitterPodTemplate=BY_KUBERNETES,
    rayClusterSpec=CLUSTER_SPEC,
)
SCHEMAS = {
    kind: fields(
        ("apiVersion", "kind", "metadata", "spec"),
        apiVersion={"const": "ray.io/v1"},
        kind={"const": kind},
        metadata=METADATA,
        spec=spec,
    )
    for kind, spec in (("RayCluster", CLUSTER_SPEC), ("RayJob", JOB_SPEC))
}
