"""Execution providers by member, over a repository of models with different members."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from small_bundle import make_bundle
from widedeep.serving.contract.bundle import Samples, read_samples, write_bundle
from widedeep.serving.contract.errors import ConfigurationError
from widedeep.serving.online.server import Server

Starter = Callable[..., Server]
CPU = ("CPUExecutionProvider",)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two models: `animals` has the members deep and wide, `plants` deep and trees."""
    made = make_bundle(tmp_path / "animals" / "1")
    path = tmp_path / "animals" / "1"
    samples = read_samples(path)
    outputs = {name.replace("/wide", "/trees"): array for name, array in samples.outputs.items()}
    graphs = {
        "deep": (path / "members/deep.onnx").read_bytes(),
        "trees": (path / "members/wide.onnx").read_bytes(),
    }
    renamed = replace(made, name="plants", members=(made.members[0], replace(made.members[1], name="trees")))
    write_bundle(tmp_path / "plants" / "1", renamed, graphs, Samples(samples.inputs, outputs))
    return tmp_path


def test_a_member_of_one_model_can_have_its_own_providers(start_server: Starter, repository: Path) -> None:
    server = start_server(repository, providers={"trees": CPU, "wide": CPU})
    assert [servable.name for servable in server.repository.servables()] == ["animals", "plants"]


def test_providers_for_a_member_that_no_model_has_are_refused_by_name(start_server: Starter, repository: Path) -> None:
    message = "providers for unknown member 'tress'; the models served have 'deep', 'trees', 'wide'"
    with pytest.raises(ConfigurationError, match=message):
        start_server(repository, providers={"tress": CPU})


def test_a_missing_provider_is_refused_for_the_one_model_that_needs_it(start_server: Starter, repository: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"model 'plants' version 1 .*NoSuchProvider is not in"):
        start_server(repository, providers={"trees": ("NoSuchProvider",)})
