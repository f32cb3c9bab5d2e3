"""The filter's program, run by a small interpreter of seccomp-BPF, so that both architectures are tested on either."""

from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.sandbox.syscalls import ALLOWED, CONDITIONAL, filter_program

AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ALLOW, KILL = 0x7FFF0000, 0x80000000
EPERM, ENOSYS = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
COLUMN = {"x86_64": 1, "aarch64": 2}
machines = pytest.mark.parametrize("machine", ["x86_64", "aarch64"])


def verdict(machine: str, number: int, *arguments: int, audit: int | None = None) -> int:
    """What the kernel would do with the call."""
    program = filter_program(machine)
    assert program is not None
    instructions = list(struct.iter_unpack("<HBBI", program))
    arch = AUDIT[machine] if audit is None else audit
    data = struct.pack("<IIQ6Q", number, arch, 0, *(*arguments, *[0] * (6 - len(arguments))))
    accumulator = at = 0
    while True:
        code, if_true, if_false, operand = instructions[at]
        at += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, operand)
            case 0x06:
                return int(operand)
            case 0x15 | 0x35 | 0x45:
                holds = {0x15: accumulator == operand, 0x35: accumulator >= operand, 0x45: accumulator & operand}[code]
                at += if_true if holds else if_false
            case _:
                raise AssertionError(f"unknown instruction {code:#x}")


def numbers(machine: str, entries: str) -> set[int]:
    column = (entry.split("/")[COLUMN[machine]] for entry in entries.split())
    return {int(number) for number in column if number != "-"}


@machines
def test_the_list_is_what_is_allowed(machine: str) -> None:
    """Every call on the list is allowed, and with arguments of nought no other but a look at one's own limits and
    files.
    """
    listed = numbers(machine, " ".join(ALLOWED.values()))
    conditional = numbers(machine, "prlimit64/302/261 fcntl/72/25")
    assert {number for number in range(1000) if verdict(machine, number) == ALLOW} == listed | conditional


@machines
def test_no_call_is_listed_twice(machine: str) -> None:
    """A number that stands for two names would be a slip."""
    entries = [*" ".join(ALLOWED.values()).split(), *CONDITIONAL]
    present = [entry for entry in entries if entry.split("/")[COLUMN[machine]] != "-"]
    assert len(numbers(machine, " ".join(entries))) == len(present)


@pytest.mark.parametrize(
    ("machine", "name", "number"),
    [
        ("x86_64", "socket", 41),
        ("x86_64", "connect", 42),
        ("x86_64", "fork", 57),
        ("x86_64", "vfork", 58),
        ("x86_64", "execve", 59),
        ("x86_64", "kill", 62),
        ("x86_64", "ptrace", 101),
        ("x86_64", "memfd_create", 319),
        ("x86_64", "process_vm_readv", 310),
        ("x86_64", "unshare", 272),
        ("aarch64", "socket", 198),
        ("aarch64", "connect", 203),
        ("aarch64", "execve", 221),
        ("aarch64", "kill", 129),
        ("aarch64", "ptrace", 117),
        ("aarch64", "memfd_create", 279),
        ("aarch64", "process_vm_readv", 270),
        ("aarch64", "unshare", 97),
        *((machine, "io_uring_setup", 425) for machine in AUDIT),
        *((machine, "pidfd_open", 434) for machine in AUDIT),
    ],
)
def test_what_must_be_refused(machine: str, name: str, number: int) -> None:
    """Calls that lead out are refused as not permitted."""
    assert verdict(machine, number) == EPERM


@machines
@given(flags=st.integers(0, 2**32 - 1))
def test_clone_makes_threads_only(machine: str, flags: int) -> None:
    """Without the flag for a thread it would be a process."""
    number = {"x86_64": 56, "aarch64": 220}[machine]
    assert verdict(machine, number, flags) == (ALLOW if flags & 0x10000 else EPERM)


@machines
def test_arguments_that_are_checked(machine: str) -> None:
    """A private stream pair, one's own limits, and plain flags of files; nothing that names another process."""
    pair, limit, control, device = {"x86_64": (53, 302, 72, 16), "aarch64": (199, 261, 25, 29)}[machine]
    assert verdict(machine, pair, 1, 0o2000001) == ALLOW
    assert verdict(machine, pair, 1, 2) == EPERM
    assert verdict(machine, pair, 2, 1) == EPERM
    assert verdict(machine, limit, 0) == ALLOW
    assert verdict(machine, limit, 1234) == EPERM
    assert verdict(machine, control, 0, 2) == ALLOW
    assert verdict(machine, control, 0, 8) == EPERM
    assert verdict(machine, device, 0, 0x5401) == ALLOW
    assert verdict(machine, device, 0, 0x5412) == EPERM


@machines
@given(number=st.integers(450, 2**32 - 1))
def test_what_is_newer_than_the_list_is_not_there(machine: str, number: int) -> None:
    """So is the other numbering of x86-64 (x32), and clone3, for which the C library has another way."""
    assert verdict(machine, number) == ENOSYS
    assert verdict(machine, 435) == ENOSYS


@machines
@given(number=st.integers(0, 2**32 - 1), audit=st.integers(0, 2**32 - 1).filter(lambda a: a not in AUDIT.values()))
def test_calls_of_another_architecture_end_the_process(machine: str, number: int, audit: int) -> None:
    """32-bit calls have other numbers, so they are none of the list's."""
    assert verdict(machine, number, audit=audit) == KILL


def test_a_machine_without_a_list_has_no_filter() -> None:
    """The caller then uses what else there is."""
    assert filter_program("riscv64") is None
