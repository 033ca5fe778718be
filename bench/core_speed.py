"""How fast a core is just now, told by work that is no program's of ours.

A virtual machine's core shares a real one with neighbours, and has more or less of it from one
second to the next. A figure says little that does not say which it had.
"""

from __future__ import annotations

import os
import time

from coincurve import PrivateKey, PublicKey

TIMES = 100
_DIGEST = bytes(range(32))
_SIGNATURE = PrivateKey(bytes(31) + b"\x01").sign_recoverable(_DIGEST, hasher=None)


def recover() -> None:
    """Finds out who made one signature, which is libsecp256k1's work."""
    PublicKey.from_signature_and_message(_SIGNATURE, _DIGEST, hasher=None)


def recover_us(core: int) -> float:
    """Microseconds of processor time that it takes on this core."""
    usual = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        started = time.thread_time()
        for _ in range(TIMES):
            recover()
        return (time.thread_time() - started) / TIMES * 1e6
    finally:
        os.sched_setaffinity(0, usual)
