"""The README's gas table, made from `bench/results/gas.json`. `make bench-gas` writes it anew."""

import json
from pathlib import Path
from typing import Any

README = Path(__file__).parents[1] / "README.md"
RESULT = Path(__file__).parent / "results" / "gas.json"
BEGIN, END = "<!-- gas -->\n", "\n<!-- /gas -->"

# Key in the result, what it is, and the official figure where the result does not carry it.
ROWS: tuple[tuple[str, str, int | None], ...] = (
    ("deposit_erc3009_new", "deposit (ERC-3009), new channel", None),
    ("deposit_erc3009_topup", "deposit (ERC-3009), again", None),
    ("claim_100", "`claim`, a voucher of 100", None),
    ("claim_10", "`claim`, a voucher of 10", None),
    ("claim_1_first", "`claim`, one voucher, the receiver's first ever", 65_661),
    ("claim_with_signature_100", "`claimWithSignature`, a voucher of 100", None),
    ("settle", "`settle`", None),
    ("redeem_100", "`redeem`, a voucher of 100, paid out (official: claim + settle)", 22_092),
    ("redeem_relayed_100", "the same, relayed (official: claimWithSignature + settle)", 24_523),
    ("initiate_withdraw", "`initiateWithdraw`", None),
    ("finalize_withdraw", "`finalizeWithdraw`", None),
    ("refund_partial", "`refund`, partial", None),
)


def table(result: dict[str, Any]) -> str:
    """The table as Markdown; a figure above the official one is bold."""
    lines = ["| step | Farthing | official |", "| --- | ---: | ---: |"]
    for key, step, given in ROWS:
        ours, official = result[key], result["official"].get(key, given)
        shown = f"**{ours:,}**" if ours > official else f"{ours:,}"
        lines.append(f"| {step} | {shown} | {official:,} |")
    return "\n".join(lines)


def with_table(readme: str, result: dict[str, Any]) -> str:
    """The README's text with the table of this result between its marks."""
    head, rest = readme.split(BEGIN)
    _, tail = rest.split(END)
    return f"{head}{BEGIN}{table(result)}{END}{tail}"


def main() -> None:
    README.write_text(with_table(README.read_text(), json.loads(RESULT.read_text())))


if __name__ == "__main__":
    main()
