"""A foreign judge of HTTP/2: h2spec, whole. What it finds wrong must be on the list below, with its reason."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.asking import PROBE, launch
from tests.integration.conftest import mesh
from tests.nodes import Mesh

__all__ = ["mesh"]

KNOWN: dict[str, str] = {}
"""``section/number`` of the tests that fail, and why that is right or bearable."""


@pytest.mark.timeout(180)
def test_h2spec_finds_what_is_known(mesh: Mesh, tool: Callable[[str], str], tmp_path: Path) -> None:
    node = mesh.up("n1")
    launch(node, "probe", component=PROBE, call=True, route=[{"host": "127.0.0.1"}])
    host, _, port = node.ready["http"].rpartition(":")
    report = tmp_path / "report.xml"
    command = [tool("h2spec"), "-h", host, "-p", port, "-o", "2", "-j", str(report)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert report.exists(), said.stdout + said.stderr
    failed, ran = {}, 0
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):
        for case in suite.iter("testcase"):
            ran += 1
            failure = case.find("failure")
            if failure is not None:
                failed[f"{case.get('package')}: {case.get('classname')}"] = failure.text
    assert ran > 140, said.stdout
    assert failed == KNOWN
