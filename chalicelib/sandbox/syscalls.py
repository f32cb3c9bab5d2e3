"""The system calls that user code is left with, and the filter (seccomp-BPF) that holds it to them.

An allow-list: what computing and files need, and asyncio, which wants a private pair of sockets. Not on it, so refused
with ``EPERM``: sockets of any other kind, ``io_uring`` (which makes sockets by another way), new processes and
programs, signals to others, tracing, namespaces, mounts, modes and owners of files, directories and links (the folder
stays flat, so that removing it is never a task). Calls newer than this list get ``ENOSYS``, which the C library takes
for "not in this kernel" and does without.

The list was written against the kernel's tables (``asm/unistd_64.h`` for x86-64, ``asm-generic/unistd.h`` for 64-bit
ARM); Python 3.11 to 3.14 with glibc run under it.
"""

from __future__ import annotations

import errno
import struct
from typing import NamedTuple

#: ``name/x86-64/aarch64``, ``-`` where an architecture has no such call. The most frequent family comes first: a filter
#: is a list.
ALLOWED = {
    "files": """
        read/0/63 write/1/64 readv/19/65 writev/20/66 pread64/17/67 pwrite64/18/68 preadv/295/69 pwritev/296/70
        lseek/8/62 open/2/- openat/257/56 close/3/57 close_range/436/436 dup/32/23 dup2/33/- dup3/292/24 flock/73/32
        fsync/74/82 fdatasync/75/83 truncate/76/45 ftruncate/77/46 fallocate/285/47 fadvise64/221/223 sendfile/40/71
        copy_file_range/326/285 stat/4/- fstat/5/80 lstat/6/- newfstatat/262/79 statx/332/291 statfs/137/43
        fstatfs/138/44 access/21/- faccessat/269/48 faccessat2/439/439 readlink/89/- readlinkat/267/78
        getdents64/217/61 getcwd/79/17 chdir/80/49 fchdir/81/50 rename/82/- renameat/264/38 renameat2/316/276
        unlink/87/- unlinkat/263/35 umask/95/166 utimensat/280/88
    """,
    "memory": "mmap/9/222 munmap/11/215 mprotect/10/226 mremap/25/216 madvise/28/233 msync/26/227 brk/12/214",
    "threads": """
        futex/202/98 set_robust_list/273/99 set_tid_address/218/96 rseq/334/293 membarrier/324/283 gettid/186/178
        sched_yield/24/124 sched_getaffinity/204/123 getcpu/309/168 exit/60/93 exit_group/231/94
        restart_syscall/219/128
    """,
    "time": """
        clock_gettime/228/113 clock_getres/229/114 clock_nanosleep/230/115 nanosleep/35/101 gettimeofday/96/169
        time/201/- times/100/153
    """,
    "own signals": """
        rt_sigaction/13/134 rt_sigprocmask/14/135 rt_sigreturn/15/139 rt_sigpending/127/136 rt_sigtimedwait/128/137
        rt_sigsuspend/130/133 sigaltstack/131/132 alarm/37/- setitimer/38/103 getitimer/36/102
    """,
    "facts": """
        getpid/39/172 getppid/110/173 getpgrp/111/- getpgid/121/155 getsid/124/156 getuid/102/174 geteuid/107/175
        getgid/104/176 getegid/108/177 getgroups/115/158 getresuid/118/148 getresgid/120/150 getrlimit/97/163
        getrusage/98/165 uname/63/160 sysinfo/99/179 getrandom/318/278
    """,
    "events": """
        poll/7/- ppoll/271/73 select/23/- pselect6/270/72 epoll_create1/291/20 epoll_ctl/233/21 epoll_wait/232/-
        epoll_pwait/281/22 eventfd2/290/19 pipe/22/- pipe2/293/59 recvfrom/45/207 sendto/44/206 getsockname/51/204
        getsockopt/55/209 setsockopt/54/208 shutdown/48/210
    """,
}


class Check(NamedTuple):
    """An argument must be one of these values, or, with ``any_bit``, have one of these bits."""

    argument: int
    values: tuple[int, ...]
    any_bit: bool = False


#: Allowed where every check holds. Arguments are compared by their low 32 bits, which is all that the kernel reads of
#: them here.
CONDITIONAL = {
    "clone/56/220": (Check(0, (0x10000,), any_bit=True),),  # CLONE_THREAD: a thread, not a process
    "prlimit64/302/261": (Check(0, (0,)),),  # one's own limits, which only go down
    "socketpair/53/199": (Check(0, (1,)), Check(1, (1, 0o2000001))),  # AF_UNIX, SOCK_STREAM: cannot be sent elsewhere
    # duplicate, flags and locks; not F_SETOWN, which has the kernel signal another process
    "fcntl/72/25": (Check(1, (0, 1, 2, 3, 4, 5, 6, 7, 1030)),),
    # TCGETS (is it a terminal?), TCGETS2, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX
    "ioctl/16/29": (Check(1, (0x5401, 0x802C542A, 0x541B, 0x5421, 0x5450, 0x5451)),),
}

CLONE3 = 435  # its flags are behind a pointer, which a filter cannot follow; after ENOSYS glibc uses clone
FIRST_UNKNOWN = 450

_ARCHITECTURES = {"x86_64": (0xC000003E, 1), "aarch64": (0xC00000B7, 2), "arm64": (0xC00000B7, 2)}

_LOAD, _RETURN, _EQUAL, _GREATER_OR_EQUAL, _ANY_BIT = 0x20, 0x06, 0x15, 0x35, 0x45
_KILL, _ALLOW, _REFUSE = 0x80000000, 0x7FFF0000, 0x00050000
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16

_Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, operand


def filter_program(machine: str) -> bytes | None:
    """The filter for ``platform.machine()`` as an array of ``struct sock_filter``; ``None`` for a machine without a
    list.
    """
    if machine not in _ARCHITECTURES:
        return None
    audit_number, column = _ARCHITECTURES[machine]
    program: list[_Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUAL, 1, 0, audit_number),
        (_RETURN, 0, 0, _KILL),  # 32-bit calls have numbers of their own
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    for entry in " ".join(ALLOWED.values()).split():
        program += _for_call(entry, column, [])
    for entry, checks in CONDITIONAL.items():
        program += _for_call(entry, column, [step for check in checks for step in _holds(check)])
    program += [
        (_EQUAL, 1, 0, CLONE3),
        (_GREATER_OR_EQUAL, 0, 1, FIRST_UNKNOWN),  # also the numbers of x32, all beyond 2**30
        (_RETURN, 0, 0, _REFUSE | errno.ENOSYS),
        (_RETURN, 0, 0, _REFUSE | errno.EPERM),
    ]
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in program)


def _for_call(entry: str, column: int, checks: list[_Instruction]) -> list[_Instruction]:
    number = entry.split("/")[column]
    if number == "-":
        return []
    body = [*checks, (_RETURN, 0, 0, _ALLOW)]
    return [(_EQUAL, 0, len(body), int(number)), *body]


def _holds(check: Check) -> list[_Instruction]:
    """Go on behind these instructions, or refuse."""
    compare = _ANY_BIT if check.any_bit else _EQUAL
    count = len(check.values)
    return [
        (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * check.argument),
        *((compare, count - index, 0, value) for index, value in enumerate(check.values)),
        (_RETURN, 0, 0, _REFUSE | errno.EPERM),
    ]
