"""cluster/aws.yaml against Ray's own schema, and what Ray's provider makes of it at a server that speaks EC2."""

from __future__ import annotations

import copy
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import jsonschema
import pytest
import yaml
from ray.autoscaler._private.aws.config import bootstrap_aws
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.cluster_files.files import CLUSTER, pinned
from tests.servers import aws

FILE = CLUSTER / "aws.yaml"


def written() -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return config


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A made-up AWS; one for all tests, since Ray keeps its connections."""
    with aws() as endpoint:
        yield f"http://{endpoint}"


@pytest.fixture
def ec2(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A region that has the profiles which the file names, and nothing that an earlier test made."""
    settings = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "HOME": str(tmp_path)}
    for name, value in {**settings, "AWS_ENDPOINT_URL": address}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / ".ssh").mkdir()
    for profile in ("cosweep-head", "cosweep-worker"):
        boto3.client("iam", region_name="us-west-2").create_instance_profile(InstanceProfileName=profile)
    yield boto3.client("ec2", region_name="us-west-2")
    urllib.request.urlopen(f"{address}/moto-api/reset", b"").close()


def prepared() -> dict[str, Any]:
    """The file as ``ray up`` completes it, with an image of machines that exists."""
    config = written()
    for node in config["available_node_types"].values():
        node["node_config"]["ImageId"] = "ami-12c6146b"  # one that moto has
    completed: dict[str, Any] = prepare_config(config)
    validate_config(completed)
    return completed


def test_the_schema_of_ray_accepts_the_file() -> None:
    validate_config(prepare_config(written()))


def test_the_schema_refuses_a_misspelt_field() -> None:
    config = copy.deepcopy(written()) | {"max_wokers": 3}
    with pytest.raises(jsonschema.ValidationError, match="max_wokers"):
        validate_config(prepare_config(config))


def test_ray_makes_a_key_and_a_group_that_lets_in_ssh_alone(ec2: Any) -> None:
    config = bootstrap_aws(prepared())
    node = config["available_node_types"]["gpu"]["node_config"]
    assert Path(config["auth"]["ssh_private_key"]).stat().st_mode & 0o777 == 0o600
    (group,) = ec2.describe_security_groups(GroupIds=node["SecurityGroupIds"])["SecurityGroups"]
    outside = [rule for rule in group["IpPermissions"] if rule["IpRanges"]]
    assert [(rule["FromPort"], rule["ToPort"]) for rule in outside] == [(22, 22)]


@pytest.mark.parametrize("kind", ["head", "gpu"])
def test_ec2_starts_the_machines_that_are_described(ec2: Any, kind: str) -> None:
    config = bootstrap_aws(prepared())
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    node = config["available_node_types"][kind]["node_config"]
    provider.create_node(node, {"ray-node-name": kind}, 1)
    (reservation,) = ec2.describe_instances()["Reservations"]
    (machine,) = reservation["Instances"]
    assert machine["InstanceType"] == node["InstanceType"]
    assert machine["IamInstanceProfile"]["Arn"].endswith(f"cosweep-{'head' if kind == 'head' else 'worker'}")
    assert machine["MetadataOptions"]["HttpTokens"] == "required"


@pytest.mark.usefixtures("ec2")
def test_the_head_drives_and_gpu_machines_start_from_nothing() -> None:
    types = AWSNodeProvider.fillout_available_node_types_resources(prepared())["available_node_types"]
    assert types["head"]["resources"]["CPU"] == 0
    assert types["gpu"]["resources"]["GPU"] == 1
    assert types["gpu"]["resources"]["CPU"] == 8
    assert types["gpu"]["min_workers"] == 0


def test_ray_is_behind_its_token_and_its_dashboard_on_loopback() -> None:
    config = written()
    assert "--env RAY_AUTH_MODE=token" in config["docker"]["run_options"]
    assert list(config["file_mounts"].values()) == ["~/.ray/auth_token"]
    assert "--dashboard-host=127.0.0.1" in config["head_start_ray_commands"][-1]


def test_machines_hold_the_version_that_was_tested_on_encrypted_disks() -> None:
    config = written()
    assert config["docker"]["image"].endswith(f"cosweep:ray{pinned('ray')}")
    nodes = [node["node_config"] for node in config["available_node_types"].values()]
    assert all(disk["Ebs"]["Encrypted"] for node in nodes for disk in node["BlockDeviceMappings"])
