"""User code in the sandbox, for real: every test starts the interpreter that a user's script would get."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.sandbox import runner
from chalicelib.sandbox.runner import MAX_ANSWER_BYTES, ScriptResult, handle, run_script

ROOT = Path(__file__).parents[2]


def run(code: str, data: Any = None, *, timeout_s: float = 20, memory_mb: int = 256) -> ScriptResult:
    return run_script(textwrap.dedent(code), json.dumps(data), timeout_s, memory_mb)


def output(code: str, data: Any = None) -> Any:
    result = run(code, data)
    assert result.error is None, result
    return result.output


def error(code: str, *, timeout_s: float = 20, memory_mb: int = 256) -> tuple[str, int | None]:
    result = run(code, timeout_s=timeout_s, memory_mb=memory_mb)
    assert result.error is not None, result
    return result.error.name, result.error.line


def attempt(*actions: str, setup: str = "") -> list[str]:
    """Each action in the sandbox: the name of the ``OSError`` that it ends in, or ``done``."""
    code = f"""
def tried(action):
    try:
        exec(action, globals())
    except OSError as error:
        return type(error).__name__
    return "done"

import os
{setup}

def main(data):
    return [tried(action) for action in data]
"""
    answers: list[str] = output(code, list(actions))
    return answers


# ----------------------------------------------------------------------------------------------------------- good runs


def test_main_gets_the_data_and_returns_the_output() -> None:
    """Data arrives as parsed JSON; what main returns is the output."""
    result = run("def main(data):\n    return {'sum': sum(data['numbers'])}", {"numbers": [1, 2, 3]})
    assert (result.output, result.error, result.stdout) == ({"sum": 6}, None, "")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
).filter(lambda value: _is_utf8(value))


def _is_utf8(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


@settings(max_examples=15, deadline=None)
@given(st.lists(_JSON, max_size=10))
def test_json_passes_unchanged(values: list[Any]) -> None:
    """Whatever JSON can say goes in and comes out as it was."""
    assert output("def main(data): return data", values) == values


def test_prints_are_kept_apart_from_the_result() -> None:
    """Prints and warnings are shown, and a print that looks like a result is a print."""
    result = run("""
        import sys
        def main(data):
            print('{"output": "forged"}')
            print("to stderr, é", file=sys.stderr)
            return "real"
    """)
    assert result.output == "real"
    assert result.stdout == '{"output": "forged"}\nto stderr, é\n'


def test_the_standard_library_is_there() -> None:
    """Computing, text, time, compression, a database in memory, threads, asyncio and a file of one's own work."""
    answers = output("""
        import asyncio, base64, bz2, collections, csv, dataclasses, datetime, decimal, enum, functools, gzip, hashlib
        import io, itertools, json, lzma, math, pathlib, pickle, random, re, sqlite3, statistics, string, tempfile
        import typing, unicodedata, urllib.parse, uuid, xml.etree.ElementTree, zipfile, zlib, zoneinfo
        from concurrent.futures import ThreadPoolExecutor

        @dataclasses.dataclass
        class Point:
            x: "int"

        async def later():
            await asyncio.sleep(0.001)
            return await asyncio.to_thread(lambda: "async")

        def main(data):
            with ThreadPoolExecutor(2) as pool:
                doubled = list(pool.map(lambda n: n * 2, [1, 2]))
            pathlib.Path("note.txt").write_text("kept")
            os_independent = [path.name for path in pathlib.Path().iterdir()]
            with tempfile.TemporaryFile() as file:
                file.write(b"x")
            table = sqlite3.connect(":memory:").execute("select 1 + 1").fetchone()[0]
            point = pickle.loads(pickle.dumps(Point(3)))
            return [asyncio.run(later()), doubled, os_independent, table, point.x, len(uuid.uuid4().hex),
                    zlib.decompress(gzip.compress(b"abc"), 31).decode()]
    """)
    assert answers == ["async", [2, 4], ["note.txt"], 2, 3, 32, "abc"]


def test_runs_side_by_side() -> None:
    """Runs do not disturb each other when several threads start them."""
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda n: output("def main(data): return data + 1", n), range(12)))
    assert results == list(range(1, 13))


def test_large_data_and_output() -> None:
    """Megabytes pass both ways, more than a pipe holds."""
    text = "x" * 4_000_000
    assert output("def main(data): return data[::-1]", text) == text


# -------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("code", "name", "line"),
    [
        ("def main(data):\n    x = 1\n    raise ValueError('no')", "ValueError", 3),
        ("def main(data):\n    return int('x')", "ValueError", 2),
        ("import json\ndef main(data):\n    return json.loads('{')", "JSONDecodeError", 3),
        ("def deep():\n    1 / 0\ndef main(data):\n    deep()", "ZeroDivisionError", 2),
        ("x = 1\nraise KeyError('at import')", "KeyError", 2),
        ("class Mine(Exception): pass\ndef main(data): raise Mine", "Mine", 2),
        ("def main(data):\n    return data[", "SyntaxError", 2),
        ("def main(data):\nreturn 1", "IndentationError", 2),
        ("def main(data): return '\0'", "SyntaxError", None),
        ("# \ud800", "SyntaxError", None),
        ("import numpy\ndef main(data): pass", "ModuleNotFoundError", 1),
        ("import chalicelib\ndef main(data): pass", "ModuleNotFoundError", 1),
        ("def other(data): pass", "MissingMain", None),
        ("main = 3", "MissingMain", None),
        ("def main(): pass", "TypeError", None),
        ("import sys\ndef main(data): sys.exit(0)", "SystemExit", 2),
        ("def main(data): raise KeyboardInterrupt", "KeyboardInterrupt", 1),
        ("def main(data): main(data)", "RecursionError", 1),
        ("import os\ndef main(data): os._exit(0)", "ScriptCrashed", None),
        ("import os\ndef main(data): os.abort()", "ScriptCrashed", None),
        ("import ctypes\ndef main(data): ctypes.string_at(0)", "ScriptCrashed", None),
        ("def main(data): return {1, 2}", "ScriptOutputNotJson", None),
        ("def main(data): return float('nan')", "ScriptOutputNotJson", None),
        ("def main(data): return {(1, 2): 3}", "ScriptOutputNotJson", None),
        ("def main(data): return '\\ud800'", "ScriptOutputNotJson", None),
        ("def main(data):\n    x = []\n    x.append(x)\n    return x", "ScriptOutputNotJson", None),
        ("async def main(data): pass", "ScriptOutputNotJson", None),
    ],
)
def test_faults_of_the_script(code: str, name: str, line: int | None) -> None:
    """Each has its exception's name, or one of ours, and the last line of the user's code that it passed."""
    assert error(code) == (name, line)


def test_an_error_whose_text_is_another_error() -> None:
    """An exception that cannot be described still has its name."""
    code = "class Odd(Exception):\n    def __str__(self): raise ValueError\ndef main(data): raise Odd"
    assert error(code) == ("Odd", 3)


def test_error_texts_are_bounded() -> None:
    """A message of megabytes is cut."""
    result = run("def main(data): raise type('N' * 9999, (Exception,), {})('m' * 10**7)")
    assert result.error
    assert (len(result.error.name), len(result.error.message)) == (100, 2000)


@pytest.mark.parametrize(
    ("forged", "name"),
    [
        ('b"garbage"', "ScriptOutputNotJson"),
        ('b"\\xff"', "ScriptOutputNotJson"),
        ('b"[" * 100000', "ScriptOutputNotJson"),
        ('b\'{"output": "\\\\ud800"}\'', "ScriptOutputNotJson"),
        ("b'{\"output\": 1e999}'", "ScriptOutputNotJson"),
        ('b\'{"output": \' + b"9" * 5000 + b"}"', "ScriptOutputNotJson"),
        ("b'{}'", "ScriptCrashed"),
        ("b'[]'", "ScriptCrashed"),
        ('b\'{"error": {"name": 3, "message": [], "line": "x"}}\'', "ScriptCrashed"),
        ("b' ' * 9_000_000", "ScriptOutputTooLarge"),
    ],
)
def test_what_the_script_writes_to_the_pipe_is_not_believed(forged: str, name: str) -> None:
    """A script that finds the pipe of the result can spoil its own result, and nothing else."""
    code = f"""
import os

def main(data):
    for fd in range(3, 64):
        try:
            rest = {forged}
            while rest:
                rest = rest[os.write(fd, rest):]
        except OSError:
            pass
    os._exit(0)
"""
    assert error(code) == (name, None)


# -------------------------------------------------------------------------------------------------------------- bounds


@pytest.mark.parametrize(
    "body",
    [
        "while True: pass",
        "import time; time.sleep(60)",
        "import signal; [signal.signal(s, signal.SIG_IGN) for s in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)]\n"
        "    while True: pass",
        "import os, time; os.closerange(0, 64); time.sleep(60)",
        "import threading; threading.Event().wait()",
        "while True: print('x' * 1000)",
        "import re; re.match('(a*)*b', 'a' * 60)",
    ],
    ids=["busy", "asleep", "deaf", "silent", "blocked", "loud", "in C"],
)
def test_the_deadline_ends_every_script(body: str) -> None:
    """Whatever it does then, it is ended, and nothing of it is left."""
    result = run(f"import os\nprint(os.getcwd())\ndef main(data):\n    {body}", timeout_s=0.7)
    assert result.error
    assert result.error.name == "ScriptTimeout"
    folder = result.stdout.split()[0]
    assert not os.path.exists(folder)
    assert processes_in(folder) == []


def test_time_before_main_counts() -> None:
    """The deadline is for the whole, the module's own statements included."""
    assert error("while True: pass", timeout_s=0.5) == ("ScriptTimeout", None)


@pytest.mark.parametrize(
    "body",
    ["return 'x' * 10**9", "x = []\n    while True: x.append('y' * 1000)", "return len(bytearray(2**40))"],
    ids=["one text", "many", "absurd"],
)
def test_memory_is_bounded(body: str) -> None:
    """More than the limit is refused to it, and told."""
    assert error(f"def main(data):\n    {body}", memory_mb=128) == ("ScriptMemory", None)


def test_output_is_bounded() -> None:
    """So is what it returns."""
    code = f"def main(data): return 'x' * {MAX_ANSWER_BYTES + 1}"
    assert error(code) == ("ScriptOutputTooLarge", None)


def test_prints_are_bounded() -> None:
    """Of what it prints the first 16 KB are kept, and the rest does not hold it up."""
    result = run("def main(data):\n    for _ in range(100): print('x' * 100_000)\n    return 'end'")
    assert result.output == "end"
    assert result.stdout == "x" * 16384


def test_files_are_bounded() -> None:
    """One file cannot fill the disk, nor can a great many be open."""
    assert error("def main(data):\n    with open('f', 'wb') as f:\n        f.write(bytes(2**26))") == ("OSError", 3)
    assert error("def main(data):\n    return len([open('f', 'w') for _ in range(100)])") == ("OSError", 2)


def test_limits_cannot_be_raised() -> None:
    """Not by the script itself, and not those of its parent."""
    code = "import resource\ndef main(data): resource.setrlimit(resource.RLIMIT_FSIZE, (2**40, 2**40))"
    assert error(code) == ("ValueError", 2)
    lower = "resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))"
    assert attempt(lower, setup="import resource") == ["PermissionError"]


# ----------------------------------------------------------------------------------------------------------- isolation


def processes_in(folder: str) -> list[int]:
    """Processes that have this as their working directory, removed or not."""
    found = []
    for entry in Path("/proc").iterdir() if Path("/proc").exists() else ():
        try:
            here = entry.name.isdigit() and os.readlink(entry / "cwd").startswith(folder)
        except OSError:
            continue
        if here:
            found.append(int(entry.name))
    return found


def test_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable is passed on, neither to Python nor to the kernel's record of it."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "do not tell")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/do/not/tell")
    assert output("import os\ndef main(data): return dict(os.environ)") == {}
    result = run("def main(data): return open('/proc/self/environ').read()")
    assert "tell" not in str(result)


def test_no_inherited_files(tmp_path: Path) -> None:
    """A file that the parent has open, even an inheritable one, is not open in the child."""
    with open(tmp_path / "secret", "w") as secret:
        os.set_inheritable(secret.fileno(), True)
        opened = output("""
            import os
            def is_open(fd):
                try:
                    os.fstat(fd)
                except OSError:
                    return False
                return True
            def main(data):
                return [fd for fd in range(64) if is_open(fd)]
        """)
    assert opened[:3] == [0, 1, 2]
    assert len(opened) == 4, "input, output, errors, and the pipe for the answer"


def test_the_parent_is_closed() -> None:
    """Its environment, memory and files under /proc cannot be read; no road leads to a signal for it."""
    assert set(
        attempt(
            "open(f'/proc/{os.getppid()}/environ').read()",
            "open(f'/proc/{os.getppid()}/mem', 'rb').read()",
            "os.listdir(f'/proc/{os.getppid()}/fd')",
            "os.kill(os.getppid(), 9)",
            "os.killpg(os.getpgid(os.getppid()), 9)",
            "signal.pidfd_send_signal(os.pidfd_open(os.getppid()), 9)",
            "fcntl.fcntl(0, fcntl.F_SETOWN, os.getppid())",
            setup="import fcntl, signal",
        )
    ) == {"PermissionError"}


def test_the_parent_hides_itself() -> None:
    """After a run that says so, the parent is not dumpable, which is what closes its /proc entries to a child without
    layers.
    """
    hidden = "hidden-parent" in run("def main(data): pass").layers
    get_dumpable = 3
    assert ctypes.CDLL(None).prctl(get_dumpable, 0, 0, 0, 0) == (0 if hidden else 1)


def test_no_network() -> None:
    """A server on loopback is not reached by any road, and no name is resolved."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        server.setblocking(False)
        port = server.getsockname()[1]
        local.bind(f"\0millrace-{os.getpid()}")
        local.listen()
        local.setblocking(False)
        answers = attempt(
            f"socket.create_connection(('127.0.0.1', {port}), timeout=5)",
            f"socket.socket(socket.AF_INET6).connect(('::ffff:127.0.0.1', {port}))",
            f"socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {port}))",
            f"socket.socket(socket.AF_UNIX).connect('\\0millrace-{os.getpid()}')",
            f"socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b'x', '\\0millrace-{os.getpid()}')",
            f"urllib.request.urlopen('http://127.0.0.1:{port}/', timeout=5)",
            "socket.create_server(('127.0.0.1', 0))",
            "socket.getaddrinfo('example.com', 80)",
            setup="import socket, urllib.request",
        )
        assert "done" not in answers
        for listener in (server, local):
            with pytest.raises(BlockingIOError):
                listener.accept()


def test_no_new_processes() -> None:
    """No fork, no program, no daemon that leaves its parent: a fork bomb does not get to its first fork."""
    result = run("""
        import multiprocessing, os, pty, subprocess, sys

        def daemon():
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    while True: pass

        def refused(action):
            try:
                action()
            except OSError:
                return True

        def main(data):
            print(os.getcwd())
            return [refused(action) for action in (
                os.fork, daemon, pty.fork, multiprocessing.Process(target=print).start,
                lambda: subprocess.run(["/bin/true"]), lambda: os.execv(sys.executable, [sys.executable]),
                lambda: os.posix_spawn(sys.executable, [sys.executable], {}))]
    """)
    assert result.output == [True] * 7, result
    assert processes_in(result.stdout.split()[0]) == []


def test_files_of_others(tmp_path: Path) -> None:
    """A private file of the parent's user cannot be read; where Landlock or another user holds, no file beside the
    libraries.
    """
    private, public = tmp_path / "private", tmp_path / "public"
    for file, mode in ((private, 0o600), (public, 0o644)):
        file.write_text("secret")
        file.chmod(mode)
    layers = run("def main(data): pass").layers
    reads = attempt(f"open({str(private)!r}).read()", f"open({str(public)!r}).read()")
    if "landlock" in layers:
        assert reads == ["PermissionError", "PermissionError"]
    elif "user" in layers:
        assert reads[0] == "PermissionError"
    if "landlock" in layers:
        outside = attempt(
            f"open({str(tmp_path / 'new')!r}, 'w')",
            f"open({str(public)!r}, 'a')",
            f"os.remove({str(public)!r})",
            f"os.rename({str(public)!r}, 'mine')",
            f"os.truncate({str(public)!r}, 0)",
            "open('/tmp/millrace-test', 'w')",
            "os.listdir('/')",
            "open('/etc/passwd')",
            f"open({str(ROOT / 'pyproject.toml')!r})",
        )
        assert "done" not in outside
    assert public.read_text() == "secret"


def test_the_folder_is_flat() -> None:
    """No directories, links or modes: what is to be removed afterwards stays simple."""
    assert set(
        attempt("os.mkdir('d')", "os.symlink('/', 'l')", "os.chmod('.', 0)", "os.mkfifo('p')", "os.link('f', 'g')")
    ) == {"PermissionError"}


def test_nothing_passes_from_run_to_run() -> None:
    """What one run leaves in its folder the next does not find, and the folder goes with its run."""
    first = "import os\ndef main(data):\n    open('left', 'w').write('x')\n    return os.getcwd()"
    folder = output(first)
    assert not os.path.exists(folder)
    found = output("import os\ndef main(data): return [os.getcwd(), os.listdir('.'), os.path.exists(data)]", folder)
    assert found[0] != folder
    assert found[1:] == [[], False]


def test_a_killed_parent_takes_the_script_along(tmp_path: Path) -> None:
    """When the function dies in the middle, no script goes on alone."""
    code = "import time\ndef main(data): time.sleep(600)"
    call = f"from chalicelib.sandbox.runner import run_script; run_script({code!r}, 'null', 600, 256)"
    parent = subprocess.Popen([sys.executable, "-c", call], cwd=ROOT, env={**os.environ, "TMPDIR": str(tmp_path)})
    try:
        eventually(lambda: processes_in(str(tmp_path)))
        time_to_confine(tmp_path)
    finally:
        parent.kill()
        parent.wait()
    eventually(lambda: not processes_in(str(tmp_path)))


def time_to_confine(folder: Path) -> None:
    """Until the child has taken its last layer, so that it is the layer that is tested."""
    (child,) = processes_in(str(folder))
    eventually(lambda: "Seccomp:\t2" in Path(f"/proc/{child}/status").read_text())


def eventually(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_no_thread_is_left() -> None:
    """A run uses no thread of the parent's."""
    before = threading.active_count()
    run("def main(data): pass")
    assert threading.active_count() == before


# -------------------------------------------------------------------------------------------------------------- Lambda


def test_handle_answers() -> None:
    """The function's answer is one of two shapes."""
    assert handle(
        {"code": "def main(data):\n    print('p')\n    return data", "data": {"a": 1}, "timeoutSeconds": 5}
    ) == {
        "ok": True,
        "output": {"a": 1},
        "stdout": "p\n",
    }
    assert handle({"code": "\ndef main(data):\n    raise ValueError('no')"}) == {
        "ok": False,
        "error": {"name": "ValueError", "message": "no", "line": 3},
        "stdout": "",
    }


@pytest.mark.parametrize(
    "event", [{}, {"code": None}, {"code": "x", "timeoutSeconds": "5"}, {"code": "x", "timeoutSeconds": -1}]
)
def test_handle_refuses_what_is_no_script(event: dict[str, Any]) -> None:
    """A malformed event is an answer too."""
    answer = handle(event)
    assert (answer["ok"], answer["error"]["name"]) == (False, "InvalidScript")


def test_handle_bounds_the_answer_however_it_is_written() -> None:
    """Two megabytes of letters beyond ASCII would be six, escaped; that is refused, and prints are kept."""
    answer = handle({"code": "def main(data):\n    print('p')\n    return 'é' * 1_000_000"})
    assert (answer["error"]["name"], answer["stdout"]) == ("ScriptOutputTooLarge", "p\n")
    assert len(json.dumps(answer)) < MAX_ANSWER_BYTES


def test_the_functions_memory_sets_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A larger function gives its script more."""
    event = {"code": "def main(data): return len(bytearray(500_000_000))"}
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
    assert handle(event)["error"]["name"] == "ScriptMemory"
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1024")
    assert handle(event)["output"] == 500_000_000


def test_importing_the_runner_needs_the_standard_library_only() -> None:
    """The function starts without site-packages: no SDK, no framework, no pydantic."""
    call = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from chalicelib.sandbox.runner import handle; "
    call += "print(handle({'code': 'def main(data): return 7'})['output'])"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", call], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr


def test_the_layers_are_told_once(capfd: pytest.CaptureFixture[str]) -> None:
    """The log of a function says at its first script which layers hold, and does not repeat it."""
    runner._tell.cache_clear()
    for _ in range(2):
        handle({"code": "def main(data): return 7"})
    told = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert told == [{"message": "layers of the sandbox", "layers": list(run("def main(data): pass").layers)}]


def test_a_broken_sandbox_is_not_the_users_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the child cannot even start, the caller learns it by an exception, and may try again."""
    broken = tmp_path / "child.py"
    broken.write_text("raise SystemExit(9)")
    monkeypatch.setattr(runner, "_CHILD", broken)
    with pytest.raises(runner.SandboxFailed, match="status 9"):
        run("def main(data): pass")
