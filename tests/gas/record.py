"""The gas on record: `python -m tests.gas.record` measures it again and writes it down."""

import json
from pathlib import Path

from bench.gas import gas_node, measure

RECORD = Path(__file__).parent / "recorded.json"


def measured() -> dict[str, int]:
    """Every figure now, on an anvil node of its own, as `make bench-gas` measures it."""
    with gas_node() as w3:
        return measure(w3)


def recorded() -> dict[str, int]:
    """Every figure as it was when it was last written down."""
    figures: dict[str, int] = json.loads(RECORD.read_text())
    return figures


def differences(before: dict[str, int], now: dict[str, int]) -> list[str]:
    """One sentence for every figure that is not what is on record."""
    found = []
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if old is None or new is None:
            found.append(f"{name} is {'new' if old is None else 'gone'}: write a new record")
        elif new > old:
            found.append(f"{name} grew from {old:,} to {new:,} gas: make it cheaper again")
        elif new < old:
            found.append(f"{name} fell from {old:,} to {new:,} gas: write a new record")
    return found


def main() -> None:
    RECORD.write_text(json.dumps(measured(), indent=2) + "\n")


if __name__ == "__main__":
    main()
