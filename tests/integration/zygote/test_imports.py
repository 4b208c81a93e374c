"""Importing code: what does not import is one sentence for a person; what an import changes in the zygote is set back, and told."""

import os
import select
import signal
import textwrap
from pathlib import Path

import msgspec
import pytest

from dadms_ipc.port import Outcome
from dadmsd.zygote import code, exits
from dadmsd.zygote.messages import Exited, GateFailed, Imported, ImportFailed, ZygoteGate
from tests.integration.zygote.small_kernel import PATIENCE, ROOT, SAMPLE, Kernel, Zygote, run_batch

HEAD = 'TOPICS = ["a", "b"]\n'


def handlers_file(directory: Path, text: str) -> Path:
    path = directory / "my_handlers.py"
    path.write_text(textwrap.dedent(text))
    return path


def failure(base: Zygote, path: Path | None, *, orchestrator: str = SAMPLE) -> ImportFailed:
    """Give the failure, after looking that the zygote has exited with its code."""
    child = base.start_version(handlers=path, orchestrator=orchestrator)
    failed = child.expect(ImportFailed)
    exited = base.kernel.exited(child)
    assert (exited.how, exited.status) == (os.CLD_EXITED, exits.IMPORT_FAILED)
    return failed


def imported(base: Zygote, text: str, directory: Path) -> Imported:
    return base.start_version(handlers=handlers_file(directory, text)).expect(Imported)


FAILURES = {
    "a module that is not there": ("x = 1\ny = 2\nimport foo_bar\n", "line 3: ModuleNotFoundError: No module named 'foo_bar'"),
    "a syntax error": ("x = 1\ndef f(:\n", "line 2: invalid syntax"),
    "an exit": ("import sys\nsys.exit(7)\n", "line 2: it exits (status 7) while it is imported"),
    "an interrupt": ("raise KeyboardInterrupt\n", "line 1: KeyboardInterrupt: "),
    "no memory": ("raise MemoryError\n", "line 1: out of memory"),
    "a function of its own": ("def f():\n    return 1 / 0\n\nf()\n", "line 2: ZeroDivisionError: division by zero"),
    "the standard library": ("import json\njson.loads('{')\n", "line 2: JSONDecodeError: Expecting property name"),
    "nothing declared": ("x = 1\n", "has no attribute 'TOPICS'"),
    "an unknown encoding": ("# -*- coding: nonsense -*-\n", ": unknown encoding: nonsense"),
    "not text": ("\x00", "source code string cannot contain null bytes"),
}


@pytest.mark.parametrize(("text", "reason"), FAILURES.values(), ids=FAILURES.keys())
def test_handlers_that_do_not_import_are_one_sentence(base: Zygote, tmp_path: Path, text: str, reason: str) -> None:
    path = handlers_file(tmp_path, text)
    failed = failure(base, path)
    assert failed.reason.startswith(f'cannot import handlers "{path}": ')
    assert reason in failed.reason
    assert "\n" not in failed.reason
    assert "dadmsd" not in failed.output
    assert failed.output.rstrip().rpartition("\n")[2] in base.kernel.children["zygote/1"].read_log()


@pytest.mark.parametrize("text", ["raise ValueError('x' * 20_000_000)\n", "import sys\nsys.exit('x' * 20_000_000)\n"])
def test_what_an_import_says_is_bounded(base: Zygote, tmp_path: Path, text: str) -> None:
    failed = failure(base, handlers_file(tmp_path, text))
    assert len(failed.reason) <= code.REASON_LIMIT
    assert "xxx" in failed.reason
    assert len(failed.output) <= code.OUTPUT_LIMIT
    assert failed.output.startswith("Traceback")
    assert "characters left out" in failed.output


def test_handlers_that_cannot_be_read_are_said_so(base: Zygote, tmp_path: Path) -> None:
    gone = tmp_path / "gone.py"
    assert failure(base, gone).reason == f'cannot read handlers "{gone}": No such file or directory'


def test_handlers_that_are_a_directory_are_said_so(base: Zygote, tmp_path: Path) -> None:
    assert failure(base, tmp_path).reason == f'cannot read handlers "{tmp_path}": Is a directory'


@pytest.mark.skipif(os.getuid() == 0, reason="root reads everything")
def test_handlers_that_may_not_be_read_are_said_so(base: Zygote, tmp_path: Path) -> None:
    path = handlers_file(tmp_path, HEAD)
    path.chmod(0)
    assert failure(base, path).reason == f'cannot read handlers "{path}": Permission denied'


ORCHESTRATORS = {
    "nonsense": "it must be named as module:attribute",
    "no.such.module:X": "ModuleNotFoundError: No module named 'no'",
    "json:nothing": 'the module "json" has no "nothing"',
    "json:dumps": 'its "name" is missing, and must be a str',
    "tests.integration.zygote.sample_orchestrator:Sample": "it is the class Sample, not an object of it",
}


@pytest.mark.parametrize(("orchestrator", "reason"), ORCHESTRATORS.items())
def test_an_orchestrator_that_is_none_is_one_sentence(base: Zygote, orchestrator: str, reason: str) -> None:
    assert failure(base, None, orchestrator=orchestrator).reason == f'cannot import orchestrator "{orchestrator}": {reason}'


def test_an_import_that_ends_the_process_is_seen_as_its_exit(base: Zygote, tmp_path: Path) -> None:
    child = base.start_version(handlers=handlers_file(tmp_path, "import os\nos._exit(5)\n"))
    assert base.kernel.exited(child).status == 5


def test_an_import_that_does_not_end_can_be_killed(base: Zygote, tmp_path: Path) -> None:
    child = base.start_version(handlers=handlers_file(tmp_path, "print('begun', flush=True)\nwhile True:\n    pass\n"))
    assert select.select([child.log], [], [], PATIENCE)[0]
    child.kill()
    assert base.kernel.exited(child).status == signal.SIGKILL


def test_what_is_printed_goes_to_the_log(base: Zygote, tmp_path: Path) -> None:
    child = base.start_version(handlers=handlers_file(tmp_path, HEAD + "print('hello from the import')\n"))
    assert child.expect(Imported).topics == ["a", "b"]
    assert os.read(child.log, 1000) == b"hello from the import\n"


def test_a_clean_import_has_nothing_to_warn_of(base: Zygote, tmp_path: Path) -> None:
    answer = imported(base, HEAD, tmp_path)
    assert (answer.version, answer.threads, answer.warnings) == ("3.2.1", 1, [])
    assert 0.0 < answer.seconds < PATIENCE


WARNINGS = {
    "a thread": (
        "import threading\nthreading.Thread(target=threading.Event().wait, name='mine').start()\n",
        "leaves 1 thread running (mine), not in the processes that are forked",
    ),
    "a handler": ("import signal\nsignal.signal(signal.SIGTERM, lambda *a: None)\n", "changes how SIGTERM is handled"),
    "ignored children": ("import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\n", "changes how SIGCHLD is handled"),
    "another directory": ("import os\nos.chdir('/proc')\n", "changes the working directory"),
    "closed streams": ("import os\nfor fd in (0, 1, 2): os.close(fd)\n", "closed or replaced descriptor 0, 1, 2"),
    "closed files": ("import sys\nsys.stdout.close(); sys.stderr = None; sys.stdin.close()\n", ""),
    "an open file": (
        "import os\nfd = os.open('/proc/version', os.O_RDONLY)\n",
        "leaves 1 descriptor open, which every process of it will share: /proc/version",
    ),
    "a timer": ("import signal\nsignal.setitimer(signal.ITIMER_REAL, 0.2)\n", ""),
    "blocked signals": ("import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGCHLD])\n", ""),
    "a collector": ("import gc\ngc.enable(); gc.freeze()\n", ""),
    "a copy of itself": ("import os\nif os.fork() == 0: pass\n", ""),
}


@pytest.mark.parametrize(("text", "warning"), WARNINGS.values(), ids=WARNINGS.keys())
def test_whatever_an_import_changes_the_zygote_works_as_before(base: Zygote, tmp_path: Path, text: str, warning: str) -> None:
    path = handlers_file(tmp_path, HEAD + text)
    child = base.start_version(handlers=path)
    answer = child.expect(Imported)
    assert [line for line in answer.warnings if f'handlers "{path}"' not in line] == []
    assert (warning in answer.warnings[0]) if warning else (answer.warnings == [])
    kernel = Kernel(child.port._sock.dup(), epoch=1)
    assert kernel.hello().name == "zygote/1"
    main = kernel.start_main("1001.1", tmp_path, config={"exit": 3})
    value = msgspec.msgpack.decode(main.expect(Outcome).value)
    assert value["signals"] == {"SIGCHLD": "0", "SIGTERM": "0", "SIGPIPE": "1"}
    assert kernel.exited(main).status == 3
    worker = kernel.start_worker("1001.1/w1", tmp_path)
    run_batch(worker, 1, [("print", "heard\n")])
    assert os.read(worker.log, 100) == b"heard\n"
    status = Path(f"/proc/{worker.forked.os_pid}/status").read_text() if worker.forked else ""
    assert "SigBlk:\t0000000000000000" in status
    worker.kill()
    assert kernel.exited(worker).status == signal.SIGKILL
    for left in (main, worker):
        os.close(left.pidfd)
        os.close(left.log)
        left.port.close()
    assert worker.page is not None
    worker.page.close()
    os.close(worker.page_fd)
    kernel.control.close()


def test_modules_beside_the_handlers_can_be_imported_then_and_later(base: Zygote, tmp_path: Path) -> None:
    (tmp_path / "sibling_now.py").write_text("NAME = 'now'\n")
    (tmp_path / "sibling_later.py").write_text("NAME = 'later'\n")
    path = handlers_file(tmp_path, "import sibling_now\nTOPICS = [sibling_now.NAME]\n")
    kernel = base.version_kernel(handlers=path)
    worker = kernel.start_worker("1001.1/w1", Path("/"))
    outcome = run_batch(worker, 1, [("sibling", "sibling_later")])[0]
    assert msgspec.msgpack.decode(outcome.value) == "later"


def test_numeric_libraries_are_told_to_use_one_thread(base: Zygote, tmp_path: Path) -> None:
    path = handlers_file(
        tmp_path, "import os\nTOPICS = [os.environ['OPENBLAS_NUM_THREADS'], os.environ['OMP_NUM_THREADS'], str(len(os.environ))]\n"
    )
    kernel = base.version_kernel(handlers=path)
    worker = kernel.start_worker("1001.1/w1", tmp_path)
    outcomes = run_batch(worker, 1, [("environment", "OMP_NUM_THREADS"), ("environment", "HOME")])
    assert [msgspec.msgpack.decode(outcome.value) for outcome in outcomes] == ["1", None]


def test_a_version_zygote_forks_zygotes_that_add_handlers(base: Zygote, tmp_path: Path) -> None:
    kernel = base.version_kernel()
    child = kernel.fork("zygote/2", "zygote")
    path = handlers_file(tmp_path, HEAD)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    child.port.send(ZygoteGate("zygote/2", os.getuid(), os.getgid(), os.getgroups(), SAMPLE, str(path), environment, "/"))
    assert child.expect(Imported).topics == ["a", "b"]


def test_an_import_is_told_again_to_the_next_kernel(base: Zygote) -> None:
    kernel = base.version_kernel()
    kernel.hello()
    assert kernel.expect(Imported).version == "3.2.1"


def test_a_zygote_without_its_directory_says_so(base: Zygote) -> None:
    child = base.kernel.fork("zygote/1", "zygote")
    child.port.send(ZygoteGate("zygote/1", os.getuid(), os.getgid(), os.getgroups(), SAMPLE, None, {}, "/nowhere"))
    assert child.expect(GateFailed).reason == 'cannot work in "/nowhere": No such file or directory'
    assert base.kernel.expect(Exited).status == exits.GATE_FAILED


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become somebody else")
def test_handlers_are_read_as_their_user(base: Zygote, tmp_path: Path) -> None:
    path = handlers_file(tmp_path, HEAD)
    path.chmod(0o600)
    kernel = base.version_kernel()  # its code is loaded: only the handlers are read as somebody else
    child = kernel.fork("zygote/2", "zygote")
    child.port.send(ZygoteGate("zygote/2", 4711, 4712, [], SAMPLE, str(path), {}, "/"))
    assert child.expect(ImportFailed).reason == f'cannot read handlers "{path}": Permission denied'
    status = Path(f"/proc/{child.forked.os_pid}/status").read_text() if child.forked else ""
    assert "Uid:\t4711\t4711\t4711\t4711" in status
    assert "Gid:\t4712\t4712\t4712\t4712" in status
