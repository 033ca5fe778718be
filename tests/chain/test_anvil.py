import os
import socket
import sys
import tempfile
from pathlib import Path

import pytest
from eth_account import Account
from web3.types import RPCEndpoint

from farthing.chain.anvil import ANVIL_KEYS, AnvilFailed, AnvilMissing, anvil, find_anvil
from farthing.chain.connection import NodeUnreachable, connect


def program(folder: Path, script: str) -> Path:
    """A program called anvil that does something else."""
    path = folder / "anvil"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_anvil__runs_for_the_block_and_not_longer() -> None:
    with anvil() as url:
        w3 = connect(url, chain_id=31_337)
        for key in ANVIL_KEYS:
            assert w3.eth.get_balance(Account.from_key(key).address) == 10_000 * 10**18
    with pytest.raises(NodeUnreachable):
        connect(url)


def test_anvil__ends_with_a_block_that_fails() -> None:
    with pytest.raises(KeyError), anvil() as url:
        raise KeyError
    with pytest.raises(NodeUnreachable):
        connect(url)


def test_anvil__further_arguments() -> None:
    with anvil("--chain-id", "4242") as url:
        assert connect(url).eth.chain_id == 4242


def test_anvil__leaves_nothing_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def files() -> list[Path]:
        return [path for path in tmp_path.rglob("*") if path.is_file()]

    with anvil() as url:
        # More states than it keeps in memory.
        connect(url, chain_id=31_337).provider.make_request(RPCEndpoint("anvil_mine"), [1_000])
        assert files()
    assert files() == []


def test_anvil__two_at_once() -> None:
    with anvil() as first, anvil("--chain-id", "4242") as second:
        assert connect(first).eth.chain_id == 31_337
        assert connect(second).eth.chain_id == 4242


def test_anvil__does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "echo starting; echo 'error: no luck today' >&2; exit 2")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(AnvilFailed) as caught, anvil():
        pass
    assert caught.value.output == "starting\nerror: no luck today\n"
    assert str(caught.value) == "anvil ended before it was ready: error: no luck today"


def test_anvil__ends_silently(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(AnvilFailed, match="it printed nothing"), anvil():
        pass


# Like npm's: it passes a signal on to the node, and is gone before the node is.
WRAPPER = """
import os, signal, socket, sys, time

port = int(sys.argv[sys.argv.index("--port") + 1])
node = os.fork()
if node == 0:
    signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.2), os._exit(0)))
    with socket.create_server(("127.0.0.1", port)):
        while True:
            signal.pause()
signal.signal(signal.SIGTERM, lambda *_: (os.kill(node, signal.SIGTERM), os._exit(0)))
while True:
    signal.pause()
"""


def test_anvil__waits_for_the_node_behind_a_wrapper(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wrapper.py").write_text(WRAPPER)
    program(tmp_path, f'exec {sys.executable} {tmp_path}/wrapper.py "$@"')
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with anvil() as url:
        port = int(url.rpartition(":")[2])
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_find_anvil__nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AnvilMissing) as caught, anvil():
        pass
    assert str(caught.value) == (
        "anvil was not found: run `npm install` in the project's folder, or put anvil on PATH."
    )


def test_find_anvil__in_node_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "node_modules" / ".bin"
    folder.mkdir(parents=True)
    placed = program(folder, "exit 0")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    assert find_anvil() == str(placed)


def test_find_anvil__path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in (tmp_path / "node_modules" / ".bin", tmp_path / "first"):
        folder.mkdir(parents=True)
        program(folder, "exit 0")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "first"))
    assert find_anvil() == str(tmp_path / "first" / "anvil")
