"""What the package carries of the contracts is what the compiler makes of them now."""

import json
from pathlib import Path

import pytest

from farthing.chain.artifacts import artifact
from scripts.package import ARTIFACTS, PACKAGED, compile_artifact

FIX = "the packaged artifact is stale: run `ape run package` and commit what it writes"


@pytest.mark.parametrize("source", PACKAGED)
def test_artifact__equals_the_compiled_contract(source: str) -> None:
    compiled = json.loads(compile_artifact(source))
    packaged = artifact(Path(source).stem)
    assert packaged.bytecode.hex() == compiled["bytecode"].removeprefix("0x"), FIX
    assert packaged.runtime.hex() == compiled["runtime"].removeprefix("0x"), FIX
    assert packaged.abi == compiled["abi"], FIX


def test_artifacts__are_those_of_the_list_and_no_more() -> None:
    found = {path.name for path in ARTIFACTS.iterdir()}
    assert found == {f"{Path(source).stem}.json" for source in PACKAGED}


@pytest.mark.parametrize("source", PACKAGED)
def test_artifact__fits_the_size_a_chain_takes(source: str) -> None:
    # EIP-170 and EIP-3860.
    packaged = artifact(Path(source).stem)
    assert 0 < len(packaged.runtime) <= 24_576
    assert 0 < len(packaged.bytecode) <= 49_152


def test_artifact__unknown_name() -> None:
    with pytest.raises(FileNotFoundError):
        artifact("NoSuchContract")
