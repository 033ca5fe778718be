"""`ape run demo`: the whole job, on the in-process chain and on a node."""

from __future__ import annotations

import re

from ape_project import Project

from farthing.chain.settlement import Channel, PendingWithdrawal, Settlement

BOOKS = "Books      the payer lost 2.500000 TUSD, the receiver gained the same"


def test_demo__in_process(project: Project) -> None:
    ended = project.run("demo")

    assert (ended.code, ended.error) == (0, "")
    lines = ended.output.splitlines()
    assert "Payments   1,000 of 0.002500 TUSD, signed and checked, 0 gas" in lines
    assert "Withdrawn  2.500000 TUSD after 900 seconds (the clock was moved)" in lines
    assert lines[-1] == BOOKS


def test_demo__on_a_node(project: Project, node: str) -> None:
    project = project.on(node)
    ended = project.call("demo")

    assert (ended.code, ended.error) == (0, "")
    assert ended.output.splitlines()[-1] == BOOKS
    (address,) = re.findall(r"^Contract   (0x\w{40}) on chain 31337$", ended.output, re.M)
    (channel_id,) = re.findall(r"ape run withdraw channels/31337-0x(\w{64})\.json", ended.output)
    settlement = Settlement(project.chain, address)
    pending = settlement.pending_withdrawal(bytes.fromhex(channel_id))
    started = project.chain.eth.get_block("latest")["timestamp"]
    assert settlement.channel(bytes.fromhex(channel_id)) == Channel(5_000_000, 2_500_000)
    assert pending == PendingWithdrawal(2_500_000, started)
