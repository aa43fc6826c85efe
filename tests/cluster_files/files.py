"""The files of cluster/, parsed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
KUBERNETES = sorted((CLUSTER / "kubernetes").glob("*.yaml"))


def documents() -> list[dict[str, Any]]:
    """All objects for Kubernetes."""
    return [document for file in KUBERNETES for document in yaml.safe_load_all(file.read_text())]


def pod_templates() -> dict[str, dict[str, Any]]:
    """All pods that these objects make, by kind and place, such as ``RayJob.rayClusterSpec.headGroupSpec``."""
    return {place: template for document in documents() for place, template in _templates(document, document["kind"])}


def _templates(node: Any, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, list):
        for number, item in enumerate(node):
            yield from _templates(item, f"{place}[{number}]")
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("template", "submitterPodTemplate"):
                yield f"{place}.{key}", value
            else:
                yield from _templates(value, f"{place}.{key}")


def pinned(package: str) -> str:
    """The version that constraints.txt gives a package."""
    (version,) = re.findall(rf"^{re.escape(package)}==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    return str(version)


def shell_blocks() -> list[str]:
    """The commands of cluster/README.md."""
    return re.findall(r"```bash\n(.*?)```", (CLUSTER / "README.md").read_text(), flags=re.DOTALL)
