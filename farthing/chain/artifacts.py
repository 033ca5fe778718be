"""The contracts as the package carries them: interface and code, fixed at build time."""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True)
class Artifact:
    """One compiled contract.

    Attributes:
        abi: The contract's JSON interface.
        bytecode: Creation code, without constructor arguments.
        runtime: Code as it stands on the chain, without the immutable values at its end.
    """

    abi: list[dict[str, Any]]
    bytecode: bytes
    runtime: bytes


@cache
def artifact(name: str) -> Artifact:
    """The packaged contract called ``name``, for example ``BatchSettlement``.

    Raises:
        FileNotFoundError: The package carries no contract of that name.
    """
    text = files("farthing.chain").joinpath("artifacts", f"{name}.json").read_text()
    data = json.loads(text)
    return Artifact(
        abi=data["abi"],
        bytecode=bytes.fromhex(data["bytecode"].removeprefix("0x")),
        runtime=bytes.fromhex(data["runtime"].removeprefix("0x")),
    )
