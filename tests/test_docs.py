"""What docs/clusters.md tells people to copy is at least well-formed."""

import re
import subprocess

import pytest
from ruamel.yaml import YAML

from tests.conftest import ROOT

BLOCKS = re.findall(r"```(\w+)\n(.*?)```", (ROOT / "docs" / "clusters.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("script", [text for kind, text in BLOCKS if kind == "bash"])
def test_shell_scripts_parse(script: str) -> None:
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_the_kubernetes_job_is_one_document_of_the_kind_it_says() -> None:
    (text,) = (text for kind, text in BLOCKS if kind == "yaml")
    job = YAML(typ="safe").load(text)
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    assert all(group["template"]["spec"]["containers"][0]["image"] for group in groups)
    assert all(isinstance(value, str) for group in groups for value in group["rayStartParams"].values())
