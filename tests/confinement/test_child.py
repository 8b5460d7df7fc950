"""A confined child accesses only the given files, ends as it would unconfined, and is ended if it hangs."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ckpttool.confinement.landlock import version

PROGRAM = """
import json, os, sys
from pathlib import Path
from ckpttool.confinement.child import Ended, go_on_confined
from ckpttool.confinement.confinement import Confinement

given, work = json.loads(sys.argv[1]), sys.argv[2]
paths = {name: tuple(map(Path, given.pop(name, ()))) for name in ("readable", "listed", "writable")}
child = go_on_confined(Confinement(**paths, **given))
if isinstance(child, Ended):
    print(json.dumps(["ended", child.code, child.why, *([child.asked] if child.asked else [])]))
else:
    exec(work)
"""
pytestmark = pytest.mark.skipif(not version(), reason="the kernel has no Landlock")


def command(work: str, **given: Any) -> list[str]:
    return [sys.executable, "-c", PROGRAM, json.dumps(given, default=str), work]


def run(work: str, **given: Any) -> list[str]:
    """The output of a child and its parent."""
    done = subprocess.run(command(work, **given), capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def tried(expression: str) -> str:
    return f"\ntry: print({expression})\nexcept OSError as error: print(error.strerror)"


def test_it_reads_what_it_was_given_and_nothing_beside(tmp_path: Path) -> None:
    for name in ("mine", "yours"):
        (tmp_path / name).write_text(name)
    work = tried(f"open({str(tmp_path / 'mine')!r}).read()") + tried(f"open({str(tmp_path / 'yours')!r}).read()")
    work += tried(f"os.listdir({str(tmp_path)!r})")
    assert run(work, readable=[tmp_path / "mine"])[:3] == ["mine", "Permission denied", "Permission denied"]
    work = tried(f"sorted(os.listdir({str(tmp_path)!r}))") + tried(f"open({str(tmp_path / 'yours')!r}).read()")
    assert run(work, listed=[tmp_path])[:2] == ["['mine', 'yours']", "Permission denied"]


def test_it_writes_where_it_was_told_and_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    work = "".join(tried(f"open({str(tmp_path / name)!r}, 'w').write('abc')") for name in ("out/one", "two"))
    work += tried(f"os.rename({str(tmp_path / 'out/one')!r}, {str(tmp_path / 'out/three')!r})")
    work += tried(f"os.unlink({str(tmp_path / 'out')!r})")
    lines = run(work, writable=[tmp_path / "out"])
    assert lines[:3] == ["3", "Permission denied", "None"]
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["three"]
    assert not (tmp_path / "two").exists()


@pytest.mark.parametrize(("network", "said"), [(False, "Permission denied"), (True, "Connection refused")])
def test_it_connects_to_nobody_unless_it_may(network: bool, said: str) -> None:
    work = "import socket\n" + tried("socket.create_connection(('127.0.0.1', 1))")
    assert run(work, network=network)[0] == said


def test_temporary_files_have_a_folder_that_is_gone_afterwards() -> None:
    work = "import tempfile\n_, name = tempfile.mkstemp()\nprint(name, os.path.exists(name), sep='\\n')"
    name, is_there, _ = run(work)
    assert is_there == "True"
    assert not Path(name).parent.exists()


def test_a_child_of_the_child_is_confined_too(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    cat = f"subprocess.run(['/bin/cat', {str(tmp_path / 'x')!r}], capture_output=True)"
    assert "Permission denied" in run(f"import subprocess\nprint({cat}.stderr)")[0]


def test_memory_is_bounded() -> None:
    work = "try: bytearray(1 << 50)\nexcept MemoryError: print('too much')"
    assert run(work)[0] == "too much"


@pytest.mark.parametrize(("work", "code", "why"), [
    ("sys.exit(3)", 3, ""),
    ("os.abort()", 134, "was ended by SIGABRT"),
    ("os.kill(os.getpid(), 9)", 137, "was ended by SIGKILL"),
    ("while True: pass", 137, "computed for 0.3 s without a sign of progress"),
])  # fmt: skip
def test_how_it_ended_is_known(work: str, code: int, why: str) -> None:
    assert json.loads(run(work, patience=0.3)[-1]) == ["ended", code, why]


def test_signs_of_progress_keep_it_alive() -> None:
    work = "import time\nfor _ in range(8):\n    time.sleep(0.1)\n    child.progressed()\nprint('done')"
    assert run(work, patience=0.6) == ["done", '["ended", 0, ""]']


def test_reading_and_writing_keep_it_alive() -> None:
    work = "import time\nfor _ in range(8):\n    time.sleep(0.1)\n    open('/proc/self/stat').read()\nprint('done')"
    assert run(work, patience=0.6) == ["done", '["ended", 0, ""]']


def test_a_signal_reaches_the_child_once_and_the_parent_says_how_it_ended() -> None:
    work = (
        "import signal, time\nseen = []\nsignal.signal(signal.SIGINT, lambda *_: seen.append(1))\n"
        "print('ready', flush=True)\nwhile not seen: time.sleep(0.01)\ntime.sleep(0.1)\nprint(seen)"
    )
    with subprocess.Popen(command(work), stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGINT)  # as sent by a terminal
        assert process.stdout.read().splitlines() == ["[1]", '["ended", 0, ""]']


def test_a_child_that_takes_no_signals_is_killed_when_it_is_asked_twice() -> None:
    """As TensorFlow in an endless loop; once is not enough, because it may have something to save."""
    work = "import signal\nsignal.signal(signal.SIGINT, lambda *_: None)\nprint('ready', flush=True)\nwhile True: pass"
    patience = "import ckpttool.confinement.child as own\nown.PATIENCE_WHEN_ASKED = (60.0, 0.2)\n"
    with subprocess.Popen(
        [sys.executable, "-c", patience + PROGRAM, "{}", work], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for _ in range(2):
            time.sleep(0.2)
            assert process.poll() is None
            process.send_signal(signal.SIGINT)
        _, code, why, asked = json.loads(process.stdout.read())
        assert (code, asked) == (130, signal.SIGINT) and "did not end when it was asked to" in why


def test_what_a_killed_process_has_left_is_swept(tmp_path: Path) -> None:
    stale = tmp_path / "ckpttool-tmp-wall-a"
    stale.mkdir(0o700)
    os.utime(stale, (0, 0))
    subprocess.run(command("pass"), env=os.environ | {"TMPDIR": str(tmp_path)}, check=True)
    assert not [*tmp_path.iterdir()]


def test_the_child_ends_with_its_parent() -> None:
    work = "print(os.getpid(), flush=True)\nimport time\ntime.sleep(60)"
    with subprocess.Popen(command(work), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.kill()
        assert process.stdout.read() == ""  # both have released it
    deadline = time.monotonic() + 5
    while Path(f"/proc/{child}").exists() and "Z" not in Path(f"/proc/{child}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline
