"""Writes what the Python package carries of the contracts: ABI and creation code of each.

`ape run package` after every change of a contract; a test fails until it was run.
"""

import json
import subprocess
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
ARTIFACTS = ROOT / "farthing" / "chain" / "artifacts"

# Contracts a user of the package deploys or talks to, be it on a development chain. Everything else
# is for tests only.
PACKAGED = (
    "contracts/BatchSettlement.vy",
    "contracts/collectors/AllowanceDepositCollector.vy",
    "contracts/collectors/ERC3009DepositCollector.vy",
    "contracts/collectors/Permit2DepositCollector.vy",
    "contracts/lens/ChannelLens.vy",
    "contracts/mocks/Multicall3.vy",
    "contracts/mocks/Permit2.vy",
    "contracts/mocks/TestUSD.vy",
)


def compile_artifact(source: str) -> str:
    """Compiles one source file and returns its artifact as JSON text.

    The text is the same on every machine: the compiler's output does not depend on paths.
    """
    output = subprocess.run(
        ["vyper", "-f", "abi,bytecode,bytecode_runtime", source],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    abi, bytecode, runtime = output.strip().splitlines()
    artifact = {
        "abi": json.loads(abi),
        "bytecode": bytecode,
        "runtime": runtime,
    }
    return json.dumps(artifact, indent=1) + "\n"


@click.command()
def cli() -> None:
    """Compile the contracts and write the package's artifacts."""
    ARTIFACTS.mkdir(exist_ok=True)
    for source in PACKAGED:
        path = ARTIFACTS / f"{Path(source).stem}.json"
        path.write_text(compile_artifact(source))
        click.echo(f"{source} -> {path.relative_to(ROOT)}")
