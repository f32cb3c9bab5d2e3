"""What the new interpreter executes: shut every door behind itself, then run the user's code.

Started by ``runner`` as a file, under ``-I -S``: the standard library is all there is. On standard input come one line
of JSON, the order (see ``runner._order``), and then the data as JSON until the end. On the pipe whose number is the
only argument go one line, the list of layers that hold, written before any user code runs, and then the answer as JSON:
``{"output": ...}`` or ``{"error": {name, message, line}}``. An interpreter that ends without an answer was ended by the
user's code.

Every layer is tried by itself and may be refused; ``chalicelib.sandbox`` says what each is for. The order matters:
paths are opened while they still can be, privileges go before the kernel's filters, seccomp comes last because it
forbids all the rest.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import stat
import struct
import sys
import types
from typing import Any, NoReturn

SCRIPT = "<script>"  #: the file name of the user's code in its tracebacks
NOBODY = 65534
SPARE_BYTES = 32 * 1024 * 1024  #: what is left to tell that memory ran out

SYSTEM_FILES = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/usr/share/zoneinfo",
    "/dev/null",
    "/dev/urandom",
)

PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
SECCOMP_MODE_FILTER, SIGKILL = 2, 9
CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWNET = 0x08000000, 0x10000000, 0x40000000
CAPABILITY_VERSION_3 = 0x20080522
LANDLOCK_CREATE, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT = 444, 445, 446


def main(answer_fd: int) -> NoReturn:
    os.environ.clear()  # Python itself adds LC_CTYPE
    order = json.loads(sys.stdin.buffer.readline())
    layers = confine(order)
    send(answer_fd, json.dumps(layers).encode() + b"\n")
    spare = resource.getrlimit(resource.RLIMIT_AS)[1]
    try:
        answer = encoded(run(order["code"], sys.stdin.buffer.read()), order["output_bytes"])
    except MemoryError:
        set_limit("RLIMIT_AS", spare, spare)
        answer = failure("ScriptMemory", "The script needs more memory than it may have.")
    except BaseException as error:  # also SystemExit: leaving is no answer
        answer = described(error)
    send(answer_fd, answer)
    os._exit(0)  # threads that the script left running end here


def send(fd: int, message: bytes) -> None:
    while message:
        message = message[os.write(fd, message) :]


# ----------------------------------------------------------------------------------------------------- the user's code


class ScriptError(Exception):
    """A fault that has a name of ours."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


def run(code: str, data: bytes) -> Any:
    """What ``main(data)`` returns, in a module of its own."""
    module = types.ModuleType("script")
    sys.modules["script"] = module  # dataclasses and pickle look a class's module up
    exec(compiled(code), module.__dict__)  # noqa: S102 - what this process is for
    entry = module.__dict__.get("main")
    if not callable(entry):
        raise ScriptError("MissingMain", "The code defines no function main(data).")
    return entry(json.loads(data))


def compiled(code: str) -> types.CodeType:
    try:
        return compile(code, SCRIPT, "exec", dont_inherit=True)
    except ValueError as error:  # a NUL, half a surrogate pair
        raise ScriptError("SyntaxError", str(error)) from error


def encoded(output: Any, at_most: int) -> bytes:
    try:
        text = json.dumps(output, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ScriptError("ScriptOutputNotJson", f"What main returned is not JSON: {error}") from error
    if len(text) > at_most:
        raise ScriptError("ScriptOutputTooLarge", f"What main returned exceeds {at_most} bytes as JSON.")
    return b'{"output":' + text + b"}"


def described(error: BaseException) -> bytes:
    if isinstance(error, ScriptError):
        return failure(error.name, str(error))
    if isinstance(error, SyntaxError) and error.filename == SCRIPT:
        return failure(type(error).__name__, error.msg, error.lineno)
    try:
        message = str(error)
    except Exception:  # a __str__ of the user's
        message = ""
    return failure(type(error).__name__, message, line_of(error))


def line_of(error: BaseException) -> int | None:
    """Where in the user's code it was raised, or the call that led to it."""
    line, step = None, error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == SCRIPT:
            line = step.tb_lineno
        step = step.tb_next
    return line


def failure(name: str, message: str, line: int | None = None) -> bytes:
    return json.dumps({"error": {"name": name, "message": message[:10_000], "line": line}}).encode()


# ------------------------------------------------------------------------------------------------------------ the doors


def confine(order: dict[str, Any]) -> list[str]:
    """Take every layer that the platform gives; returns their names."""
    layers = []
    if sys.platform == "linux":
        readable = opened([*sys.path, os.path.join(sys.base_prefix, "lib"), *SYSTEM_FILES])
        layers = [
            name
            for name, given in (
                ("user", become_nobody()),
                ("namespaces", leave_namespaces()),
                ("no-new-privileges", give_up_privileges()),
                ("landlock", restrict_files(readable)),
            )
            if given
        ]
        for fd in readable:
            os.close(fd)
        die_with_parent(order["parent"])
    set_limits(order)
    if sys.platform == "linux" and filter_calls(bytes.fromhex(order["filter"])):
        layers.append("seccomp")
    else:
        set_limit("RLIMIT_NPROC", 0, 0)
        layers.append("audit-hook")
        sys.addaudithook(refuse)
    return layers


def libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def opened(paths: list[str]) -> list[int]:
    found = []
    for path in paths:
        try:
            found.append(os.open(path, os.O_PATH | os.O_CLOEXEC))
        except OSError:  # not on this system
            continue
    return found


def become_nobody() -> bool:
    """From root only, and only where nobody can read the standard library: not that of an interpreter under /root."""
    if os.geteuid() != 0:
        return False
    try:
        os.setgroups([])
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
        os.close(os.open(json.__file__, os.O_RDONLY))
    except OSError:
        return False
    finally:
        os.seteuid(0)
        os.setegid(0)
    os.chown(".", NOBODY, NOBODY)
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    return True


def leave_namespaces() -> bool:
    return bool(libc().unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC) == 0)


def give_up_privileges() -> bool:
    header = struct.pack("Ii", CAPABILITY_VERSION_3, 0)
    capabilities_gone = libc().capset(header, bytes(24)) == 0
    return bool(libc().prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0) and capabilities_gone


def restrict_files(readable: list[int]) -> bool:
    """Landlock, in whatever version the kernel has: everything that it can forbid, less what follows."""
    syscall = libc().syscall
    version = syscall(LANDLOCK_CREATE, None, 0, 1)
    if version < 1:
        return False
    access_bits = {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)
    every_access = (1 << access_bits) - 1
    tcp, scopes = 0b11, 0b11  # bind and connect; abstract UNIX sockets and signals
    attributes = struct.pack("QQQ", every_access, tcp, scopes)[: 8 if version < 4 else 16 if version < 6 else 24]
    rules = syscall(LANDLOCK_CREATE, attributes, len(attributes), 0)
    write_file, read_file, read_dir, remove_file, make_file, truncate = 1 << 1, 1 << 2, 1 << 3, 1 << 5, 1 << 8, 1 << 14
    folder = os.open(".", os.O_PATH | os.O_CLOEXEC)
    in_folder = write_file | read_file | read_dir | remove_file | make_file | truncate
    for fd in readable:
        is_folder = stat.S_ISDIR(os.fstat(fd).st_mode)
        allow(syscall, rules, fd, read_file | read_dir if is_folder else read_file)
    allow(syscall, rules, folder, in_folder & every_access)
    os.close(folder)
    restricted = syscall(LANDLOCK_RESTRICT, rules, 0) == 0
    os.close(rules)
    return bool(restricted)


def allow(syscall: Any, rules: int, fd: int, access: int) -> None:
    syscall(LANDLOCK_ADD_RULE, rules, 1, struct.pack("=Qi", access, fd), 0)


def die_with_parent(parent: int) -> None:
    """After the last change of privileges, which would undo it."""
    libc().prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def set_limits(order: dict[str, Any]) -> None:
    set_limit("RLIMIT_CORE", 0, 0)
    set_limit("RLIMIT_AS", order["memory_bytes"], order["memory_bytes"] + SPARE_BYTES)
    set_limit("RLIMIT_CPU", order["cpu_s"], order["cpu_s"] + 1)
    set_limit("RLIMIT_FSIZE", order["file_bytes"], order["file_bytes"])
    set_limit("RLIMIT_NOFILE", order["files"], order["files"])


def set_limit(name: str, soft: int, hard: int) -> None:
    try:
        resource.setrlimit(getattr(resource, name), (soft, hard))
    except (OSError, ValueError):  # macOS does not bound the address space
        return


def filter_calls(program: bytes) -> bool:
    """``program``: an array of ``struct sock_filter``, empty where there is none for this machine."""
    if not program:
        return False
    kept = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(kept))
    return bool(libc().prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, head, 0, 0) == 0)


REFUSED_EVENTS = (
    *("socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostby"),
    *("subprocess.", "os.fork", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.kill", "signal.pthread_kill"),
    *("os.mkdir", "os.chmod", "os.link", "os.symlink", "pty.", "ctypes."),
)


def refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook (PEP 578): raises in place of what it hears of."""
    if event.startswith(REFUSED_EVENTS) or (event in ("open", "os.listdir", "os.scandir") and is_proc(arguments[0])):
        raise PermissionError(f"{event} is not permitted here")


def is_proc(path: Any) -> bool:
    return isinstance(path, str | bytes) and os.path.realpath(os.fsdecode(path)).startswith("/proc")


if __name__ == "__main__":
    main(int(sys.argv[1]))
