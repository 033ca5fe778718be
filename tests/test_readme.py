"""The README says what was measured."""

import json

from bench.gas_table import README, RESULT, with_table


def test_gas_table__is_of_the_last_result() -> None:
    readme = README.read_text()
    assert readme == with_table(readme, json.loads(RESULT.read_text())), (
        "the gas table is old: run `python -m bench.gas_table`"
    )
