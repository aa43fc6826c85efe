"""The objects for Kubernetes against Kubernetes' own schemas, Ray's autoscaler, and what cosweep promises of them."""

from __future__ import annotations

import copy
import re
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

from tests.cluster_files.files import documents, pinned, pod_templates, shell_blocks
from tests.cluster_files.kuberay import SCHEMAS

VERSIONS = ("1.30", "1.37")
PODS = pod_templates()
OBJECTS = {f"{document['kind']}-{document['metadata']['name']}": document for document in documents()}
CONTAINERS = {
    f"{place}-{container['name']}": (template["spec"], container)
    for place, template in PODS.items()
    for container in template["spec"]["containers"]
}


def ray_objects() -> dict[str, dict[str, Any]]:
    return {document["kind"]: document for document in documents() if document["apiVersion"] == "ray.io/v1"}


def ray_cluster(kind: str) -> dict[str, Any]:
    """What the object asks of KubeRay as a RayCluster."""
    document = ray_objects()[kind]
    spec = document["spec"].get("rayClusterSpec", document["spec"])
    return {"metadata": document["metadata"], "spec": spec}


def check(document: dict[str, Any], version: str) -> None:
    """Refuse what Kubernetes, or KubeRay, would."""
    if document["kind"] in SCHEMAS:
        jsonschema.validate(document, SCHEMAS[document["kind"]])
    else:
        kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", OBJECTS)
def test_kubernetes_and_kuberay_know_every_field(name: str, version: str) -> None:
    check(OBJECTS[name], version)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("place", PODS)
def test_kubernetes_knows_every_field_of_the_pods(place: str, version: str) -> None:
    template = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}, "template": PODS[place]}
    kubernetes_validate.validate(template, version, strict=True)


@pytest.mark.parametrize("name", ["Deployment-mlflow", "RayCluster-cosweep", "RayJob-cosweep"])
def test_a_misspelt_field_is_refused(name: str) -> None:
    document = copy.deepcopy(OBJECTS[name])
    document["spec"]["replicaz"] = 1
    with pytest.raises(jsonschema.ValidationError, match="replicaz"):
        check(document, VERSIONS[-1])


@pytest.mark.parametrize("name", CONTAINERS)
def test_no_container_is_root_or_may_become_it(name: str) -> None:
    pod, container = CONTAINERS[name]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_container_says_what_it_needs_and_what_it_may_take(name: str) -> None:
    resources = CONTAINERS[name][1]["resources"]
    assert resources["requests"].keys() == resources["limits"].keys() >= {"cpu", "memory"}


@pytest.mark.parametrize("name", CONTAINERS)
def test_no_secret_stands_in_a_file(name: str) -> None:
    secret = re.compile("PASSWORD|SECRET|TOKEN|ACCESS_KEY")
    assert not [e for e in CONTAINERS[name][1].get("env", ()) if secret.search(e["name"]) and "value" in e]


@pytest.mark.parametrize("place", PODS)
def test_every_mount_has_its_volume_and_scratch_space_has_a_limit(place: str) -> None:
    spec = PODS[place]["spec"]
    claims = [claim["metadata"]["name"] for claim in OBJECTS["StatefulSet-postgres"]["spec"]["volumeClaimTemplates"]]
    volumes = {volume["name"] for volume in spec.get("volumes", ())} | set(claims)
    assert {mount["name"] for c in spec["containers"] for mount in c.get("volumeMounts", ())} <= volumes
    assert all("sizeLimit" in volume["emptyDir"] for volume in spec["volumes"] if "emptyDir" in volume)


def test_only_the_head_may_talk_to_kubernetes() -> None:
    trusted = {place for place, template in PODS.items() if template["spec"].get("automountServiceAccountToken", True)}
    assert {place.split(".")[-2] for place in trusted} == {"headGroupSpec"}  # its autoscaler asks for pods


@pytest.mark.parametrize("kind", ["RayCluster", "RayJob"])
def test_the_autoscaler_of_ray_reads_groups_that_start_from_nothing(kind: str) -> None:
    config = _derive_autoscaling_config_from_ray_cr(ray_cluster(kind))
    nodes = config["available_node_types"]
    assert nodes["headgroup"]["resources"]["CPU"] == 0
    assert {name: node["min_workers"] for name, node in nodes.items()} == {"headgroup": 0, "cpu": 0, "gpu": 0}
    assert (nodes["cpu"]["max_workers"], nodes["cpu"]["resources"]["CPU"]) == (8, 8)
    assert "GPU" not in nodes["cpu"]["resources"]
    assert (nodes["gpu"]["max_workers"], nodes["gpu"]["resources"]["GPU"]) == (8, 1)
    assert (config["max_workers"], config["idle_timeout_minutes"]) == (16, 5)


def test_a_job_makes_the_same_cluster_and_mounts_the_sweep_beside() -> None:
    job = ray_cluster("RayJob")["spec"]
    groups = [job["headGroupSpec"], *job["workerGroupSpecs"]]
    for group in groups:
        spec = group["template"]["spec"]
        assert spec["volumes"][-1]["name"] == spec["containers"][0]["volumeMounts"][-1]["name"] == "sweep"
        spec["volumes"], spec["containers"][0]["volumeMounts"] = (
            spec["volumes"][:-1],
            spec["containers"][0]["volumeMounts"][:-1],
        )
    assert job == ray_cluster("RayCluster")["spec"]


@pytest.mark.parametrize("kind", ["RayCluster", "RayJob"])
def test_the_dashboard_is_behind_a_token_and_has_no_address_outside(kind: str) -> None:
    spec = ray_cluster(kind)["spec"]
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["headGroupSpec"]["serviceType"] == "ClusterIP"


def test_images_hold_the_versions_that_were_tested() -> None:
    tags = {container["image"].rpartition("/")[2] for _, container in CONTAINERS.values()}
    ours = {tag for tag in tags if tag.startswith("cosweep")}
    assert ours == {f"cosweep:ray{pinned('ray')}", f"cosweep-mlflow:{pinned('mlflow')}"}
    assert {ray_cluster(kind)["spec"]["rayVersion"] for kind in ray_objects()} == {pinned("ray")}


def test_the_readme_makes_the_secrets_and_files_that_pods_ask_for() -> None:
    made = set(re.findall(r"create (?:secret generic|configmap) (\S+)", "\n".join(shell_blocks())))
    asked = {source.get("secretRef", {}).get("name") for _, c in CONTAINERS.values() for source in c.get("envFrom", ())}
    asked |= {
        v["configMap"]["name"] for template in PODS.values() for v in template["spec"]["volumes"] if "configMap" in v
    }
    assert asked == made


def test_postgresql_answers_to_mlflow_alone() -> None:
    policy = OBJECTS["NetworkPolicy-postgres-from-mlflow"]["spec"]
    (rule,) = policy["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": PODS["Deployment.spec.template"]["metadata"]["labels"]}}]
    assert policy["podSelector"]["matchLabels"] == PODS["StatefulSet.spec.template"]["metadata"]["labels"]
    (others,) = OBJECTS["NetworkPolicy-within-cosweep"]["spec"]["podSelector"]["matchExpressions"]
    assert others == {"key": "app", "operator": "NotIn", "values": ["postgres"]}
