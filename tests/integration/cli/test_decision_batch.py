"""Batches against real daemons: row by row what the library gives, in order, whatever happens to a row, a worker or a server."""

import csv
import json
import os
import pty
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dadms_orchestrators.decision import load_model
from dadms_orchestrators.decision.batch import evaluate_rows, read_csv
from dadms_orchestrators.decision.jsonvalues import to_json_value
from tests.conftest import Daemon
from tests.integration.cli.conftest import Ctl, Start

CHECKOUT = Path(__file__).parents[3]
GO_NO_GO = CHECKOUT / "examples" / "uas_selection" / "go_no_go.dmn"
KIT = CHECKOUT / ".." / "shared" / "conformance" / "dmn-tck"
MODEL = """<definitions xmlns="https://www.omg.org/spec/DMN/20230324/MODEL/" name="m" namespace="urn:m">
<inputData id="n" name="n"><variable name="n" typeRef="number"/></inputData>
<decision id="d" name="d"><variable name="d"/><informationRequirement><requiredInput href="#n"/></informationRequirement>
<literalExpression><text>{text}</text></literalExpression></decision></definitions>
"""
Wait = Callable[[Daemon], None]


@pytest.fixture
def ctl(ctl: Ctl) -> Ctl:
    """Run a command to its end; what a host without cgroups cannot enforce is said there too, and is not what these tests are about."""

    def run(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        done = ctl(*arguments)
        done.stderr = without_limits(done.stderr)
        return done

    return run


def without_limits(errors: str) -> str:
    """Leave out the warnings about limits."""
    return "".join(line for line in errors.splitlines(keepends=True) if "⚠ not enforced" not in line)


def numbers(path: Path, count: int) -> Path:
    """Write rows for go_no_go.dmn; every 997th is none."""
    chance = random.Random(20)
    lines = ["cost_risk,score_margin,robustness"]
    for number in range(count):
        lines.append("x,0.1,0.2" if number % 997 == 500 else ",".join(f"{chance.random():.6f}" for _ in range(3)))
    path.write_text("\n".join(lines) + "\n")
    return path


def model(folder: Path, text: str) -> Path:
    path = folder / "m.dmn"
    path.write_text(MODEL.format(text=text))
    return path


def column(folder: Path, values: list[object]) -> Path:
    path = folder / "rows.csv"
    path.write_text("n\n" + "".join(f"{value}\n" for value in values))
    return path


def results(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_twenty_thousand_rows_agree_with_the_library_row_by_row(ctl: Ctl, short_path: Path, environment: dict[str, str]) -> None:
    rows = numbers(short_path / "rows.csv", 20_000)
    output = short_path / "out.jsonl"
    done = ctl("decision", "batch", GO_NO_GO, "--rows", rows, "--output", output)
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert done.stderr.splitlines()[-1].startswith("20,000 rows, 20 failed, ")
    library = load_model(GO_NO_GO.read_bytes(), name="go_no_go.dmn")
    with rows.open(newline="") as lines, output.open() as found:
        for expected, line in zip(evaluate_rows(library, "Go or no-go", read_csv(lines, library)), found, strict=True):
            row = json.loads(line)
            assert (row["row"], row["errors"]) == (expected.number, list(expected.errors))
            assert row["value"] == to_json_value(expected.value)
            assert row["rules"] == list(expected.rules)
            assert row["inputs"] == (to_json_value(expected.inputs) if not expected.errors else None)
    assert os.listdir(environment["TMPDIR"]) == []  # noqa: PTH208 - names


def test_a_table_comes_with_a_column_for_each_output(ctl: Ctl, short_path: Path) -> None:
    rows = numbers(short_path / "rows.csv", 50)
    done = ctl("decision", "batch", GO_NO_GO, "--rows", rows)
    assert done.returncode == 0, done.stderr
    lines = list(csv.reader(done.stdout.splitlines()))
    assert lines[0] == ["cost_risk", "score_margin", "robustness", "value.verdict", "value.reason", "errors", "rules"]
    assert len(lines) == 51
    given = [line.split(",") for line in rows.read_text().splitlines()]
    assert [line[:3] for line in lines] == given
    assert {line[3] for line in lines[1:]} <= {"go", "no-go", "go with conditions"}


def test_json_lines_keep_their_digits_on_the_way_through(ctl: Ctl, short_path: Path) -> None:
    rows = short_path / "rows.jsonl"
    rows.write_text('{"n": 0.12345678901234567890}\n\n{"n": 1e20}\n{"n": "x"}\nnothing\n')
    done = ctl("decision", "batch", model(short_path, "n * 3"), "--rows", rows)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("4 rows, 2 failed, ")
    lines = done.stdout.splitlines()
    assert lines[0] == '{"row":1,"inputs":{"n": 0.12345678901234567890},"value":"0.3703703670370370367","errors":[],"rules":[]}'
    assert '"value":300000000000000000000,' in lines[1]
    assert "is no number" in json.loads(lines[2])["errors"][0]
    assert json.loads(lines[3])["errors"][0].startswith("cannot read line 5: it is no JSON")


def test_a_misspelled_column_is_told_before_the_work(ctl: Ctl, short_path: Path) -> None:
    rows = short_path / "rows.csv"
    rows.write_text("m\n1\n")
    done = ctl("decision", "batch", model(short_path, "n"), "--rows", rows)
    assert done.stderr.splitlines()[:2] == [
        'dadmsctl: warning: the model knows no input "m": its inputs are "n"',
        'dadmsctl: warning: the input "n" (number) was not given, and is null',
    ]


def test_a_row_without_end_is_a_row_with_an_error(ctl: Ctl, short_path: Path) -> None:
    """Loops are limited to ten million rounds, which take longer than the time that a thread has here."""
    text = "if n = 7 then count(for a in 1..3100, b in 1..3100 return a * b / 3 ** 5) else n"
    done = ctl(
        "decision",
        "batch",
        model(short_path, text),
        "--rows",
        column(short_path, list(range(40))),
        "-o",
        short_path / "o.csv",
        "--thread-timeout",
        "1",
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1].startswith("40 rows, 1 failed, ")
    found = results(short_path / "o.csv")
    assert [row["value"] for row in found] == [str(n) if n != 7 else "" for n in range(40)]
    assert found[7]["errors"] == "did not end within 1 s (thread_timeout, 30 s by default)"


def test_a_row_that_costs_the_worker_its_life_is_a_row_with_an_error(ctl: Ctl, short_path: Path) -> None:
    text = 'if n = 7 then count(for a in 1..900000 return string(a) + "some text that is not shared") else n'
    caps = ("--worker-memory", "64M", "--memory", "1G")
    done = ctl(
        "decision", "batch", model(short_path, text), "--rows", column(short_path, list(range(40))), "-o", short_path / "o.csv", *caps
    )
    assert done.returncode == 1, done.stderr
    found = results(short_path / "o.csv")
    assert [row["value"] for row in found] == [str(n) if n != 7 else "" for n in range(40)]
    assert "memory" in found[7]["errors"].lower() or "oom" in found[7]["errors"]


def test_results_that_do_not_fit_one_answer_come_in_several(ctl: Ctl, short_path: Path) -> None:
    text = 'string join(for i in 1..n return "x", "")'
    sizes = [20_000] * 60 + [300_000] + [5]
    done = ctl("decision", "batch", model(short_path, text), "--rows", column(short_path, list(sizes)), "-o", short_path / "o.csv")
    assert done.returncode == 1, done.stderr
    csv.field_size_limit(1_000_000)
    found = results(short_path / "o.csv")
    assert [len(row["value"]) for row in found] == [20_000] * 60 + [0, 5]
    assert found[60]["errors"].startswith("its result takes 3000")


def test_memory_stays_flat(environment: dict[str, str], short_path: Path) -> None:
    peaks = []
    for count in (2_000, 60_000):
        rows = numbers(short_path / "rows.csv", count)
        command = [
            sys.executable,
            "-m",
            "dadmsctl",
            "decision",
            "batch",
            str(GO_NO_GO),
            "--rows",
            str(rows),
            "-o",
            str(short_path / "o.csv"),
        ]
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 1
        peaks.append(usage.ru_maxrss)  # KiB, of this process alone
    assert peaks[1] < peaks[0] + 8 * 1024


def test_a_model_of_the_conformance_kit_in_a_batch(ctl: Ctl, short_path: Path) -> None:
    if not KIT.is_dir():
        pytest.skip("the conformance kit is not beside the checkout")
    [path] = (KIT / "compliance-level-3" / "0020-vacation-days").glob("*.dmn")
    rows = short_path / "rows.csv"
    given = [(age, service) for age in (16, 18, 25, 44, 45, 50, 59, 60, 70) for service in (0, 1, 14, 15, 29, 30, 40)]
    rows.write_text("Age,Years of Service\n" + "".join(f"{age},{service}\n" for age, service in given))
    done = ctl("decision", "batch", path, "--decision", "Total Vacation Days", "--rows", rows)
    assert done.returncode == 0, done.stderr
    library = load_model(path.read_bytes(), name=path.name)
    with rows.open(newline="") as lines:
        expected = [str(outcome.value) for outcome in evaluate_rows(library, "Total Vacation Days", read_csv(lines, library))]
    found = list(csv.DictReader(done.stdout.splitlines()))
    assert [row["value"] for row in found] == expected
    assert len(set(expected)) > 3


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--rows", "{}/absent.csv"], "cannot read the rows"),
        (["--rows", "{}/rows.csv", "-o", "{}/rows.csv"], "it is the file with the rows"),
        (["--rows", "{}/rows.csv", "-o", "{}/o.xlsx"], "cannot tell the form"),
        (["--rows", "{}/rows.csv", "-o", "{}/no/o.csv"], "No such file"),
        (["--rows", "{}/rows.csv", "--decision", "e"], "its decisions are"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_spawned(
    ctl: Ctl, short_path: Path, arguments: list[str], reason: str, environment: dict[str, str]
) -> None:
    path = model(short_path, "n")
    rows = column(short_path, [1])
    done = ctl("decision", "batch", path, *(argument.replace("{}", str(short_path)) for argument in arguments))
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith("dadmsctl: cannot ")
    assert done.stderr.count("\n") == 1
    assert reason in done.stderr
    assert rows.read_text() == "n\n1\n"
    assert os.listdir(environment["TMPDIR"]) == []  # noqa: PTH208 - names


def slow_batch(start: Start, daemon: Daemon, folder: Path, count: int = 2000) -> "subprocess.Popen[str]":
    """Start a batch of some seconds on a daemon, and return when its first rows are out."""
    text = "n + count(for a in 1..4000 return a)"
    rows = column(folder, list(range(count)))
    where = ("--runtime-dir", daemon.runtime_dir)
    process = start(*where, "decision", "batch", model(folder, text), "--rows", rows)
    assert process.stdout is not None
    assert process.stdout.readline() == "n,value,errors,rules\n"
    assert process.stdout.readline() == "0,4000,,\n"
    return process


def rest_of(process: "subprocess.Popen[str]") -> tuple[str, str]:
    """Give what a command says from here on, once it has ended."""
    assert process.stdout is not None
    assert process.stderr is not None
    return process.stdout.read(), without_limits(process.stderr.read())


def test_ctrl_c_ends_the_process_and_keeps_what_was_written(
    start: Start, ctl: Ctl, keeper_daemon: Daemon, wait_for: Wait, short_path: Path
) -> None:
    wait_for(keeper_daemon)
    process = slow_batch(start, keeper_daemon, short_path, 100_000)
    process.send_signal(signal.SIGINT)
    output, errors = rest_of(process)
    assert process.wait(30) == 130, errors
    assert errors.startswith("broken off after ")
    assert len(errors.split("\n")) <= 3, "one line, and the one that ^C stands on"
    assert all(line.count(",") == 3 for line in output.splitlines())
    where = ("--runtime-dir", keeper_daemon.runtime_dir)
    [found] = json.loads(ctl(*where, "ps", "-a", "--json").stdout)
    assert ctl(*where, "wait", str(found["pid"]), "--timeout", "20").returncode == 1
    [found] = json.loads(ctl(*where, "ps", "-a", "--json").stdout)
    assert found["status"] == "killed"
    assert "its batch was broken off" in ctl(*where, "events", "--pid", str(found["pid"])).stdout


def test_a_process_that_is_killed_under_a_batch_ends_it_with_the_reason(
    start: Start, ctl: Ctl, keeper_daemon: Daemon, wait_for: Wait, short_path: Path
) -> None:
    wait_for(keeper_daemon)
    process = slow_batch(start, keeper_daemon, short_path, 100_000)
    where = ("--runtime-dir", keeper_daemon.runtime_dir)
    [found] = json.loads(ctl(*where, "ps", "--json").stdout)
    assert ctl(*where, "kill", str(found["pid"]), "--reason", "not today").returncode == 0
    _, errors = rest_of(process)
    assert process.wait(30) == 1
    assert "broken off after " in errors
    assert errors.splitlines()[-1].startswith("dadmsctl: ")
    assert " killed" in errors.splitlines()[-1]


@pytest.mark.parametrize("server", ["kernel", "bus"])
def test_a_server_that_dies_under_a_batch_is_a_delay(
    server: str, start: Start, ctl: Ctl, keeper_daemon: Daemon, wait_for: Wait, short_path: Path
) -> None:
    wait_for(keeper_daemon)
    process = slow_batch(start, keeper_daemon, short_path)
    where = ("--runtime-dir", keeper_daemon.runtime_dir)
    status = json.loads(ctl(*where, "status", "--json").stdout)
    os.kill(status["os_pid"] if server == "kernel" else status["servers"][server]["os_pid"], signal.SIGKILL)
    output, errors = rest_of(process)
    assert process.wait(30) == 0, errors
    assert output.splitlines() == [f"{n},{n + 4000},," for n in range(1, 2000)]
    [listed] = json.loads(ctl(*where, "ps", "-a", "--json").stdout)
    found = json.loads(ctl(*where, "status", str(listed["pid"]), "--json").stdout)
    assert (found["status"], found["outcome"]["rows"], found["outcome"]["failed"]) == ("completed", 2000, 0)


def test_a_terminal_is_shown_how_far_it_is(environment: dict[str, str], short_path: Path) -> None:
    rows = numbers(short_path / "rows.csv", 20_000)
    command = [sys.executable, "-m", "dadmsctl", "decision", "batch", str(GO_NO_GO), "--rows", str(rows), "-o", str(short_path / "o.csv")]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, env=environment | {"TERM": "xterm"}, stdin=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    seen = b""
    try:
        while piece := os.read(ours, 4096):
            seen += piece
    except OSError:  # EIO: the other end is closed
        pass
    os.close(ours)
    assert process.wait(60) == 1
    assert b"rows/s" in seen
    assert b"100 %" in seen or b" %" in seen
    assert seen.count(b"rows/s") > 1, "more than the summary alone"


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_line_too_deep_or_with_a_key_twice_is_a_row_with_an_error_and_ends_nothing(ctl: Ctl, short_path: Path, form: str) -> None:
    lines = ['{"n":' + "[" * 100_000 + "]" * 100_000 + "}", '{"n": 1, "n": 2}', '{"n": 1000001}', '{"n": 4}']
    (rows := short_path / "rows.jsonl").write_text("\n".join(lines) + "\n")
    output = short_path / f"out.{form}"
    text = "if (some i in 1..n satisfies i = n) then n else 0"
    done = ctl("decision", "batch", model(short_path, text), "--rows", rows, "--output", output)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("4 rows, 3 failed")
    found = output.read_text()
    for reason in ("line 1: it is nested too deep", "line 2: the key ", "a loop makes more than 1000000 rounds"):
        assert reason in found
    assert found.splitlines()[-1].startswith("4,4" if form == "csv" else '{"row":4,"inputs":{"n": 4},"value":4')
