"""Projects and nodes for the scripts to run in and on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ape_project import Project

from farthing.chain.anvil import anvil


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Scripts and settings in an empty folder, on ape's default network."""
    return Project.copy_to(tmp_path)


@pytest.fixture
def node() -> Iterator[str]:
    """URL of a node with nothing on it."""
    with anvil() as url:
        yield url


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project on a node where `ape run deploy --test-token` was run; one for a file of tests."""
    with anvil() as url:
        project = Project.copy_to(tmp_path_factory.mktemp("deployed")).on(url)
        ended = project.run("deploy", "--test-token")
        assert ended.code == 0, ended
        yield project
