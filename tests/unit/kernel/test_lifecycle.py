"""The lifecycle table is total, ends where it must, and the page shows it as it is."""

from pathlib import Path

from dadmsd.kernel.core.lifecycle import (
    ALIVE,
    DESIRED,
    ENDED,
    ENTERING,
    IGNORE,
    LIFECYCLE,
    MEANING,
    PHASES,
    PROCESS_LIFECYCLE,
    PROCESS_STATUSES,
    PROCESS_STIMULI,
    STIMULI,
    THE_END,
    THREAD_LIFECYCLE,
    THREAD_STATES,
    THREAD_STIMULI,
)

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "states.md"


def test_the_table_of_threads_is_total_and_its_ends_are_final() -> None:
    assert set(THREAD_LIFECYCLE) == set(THREAD_STATES)
    for state, row in THREAD_LIFECYCLE.items():
        assert tuple(row) == tuple(THREAD_STIMULI), state
        assert set(row.values()) <= {*THREAD_STATES, IGNORE, "as before"}
        if state in ("completed", "error", "terminated", "timed_out"):
            assert set(row.values()) == {IGNORE}


def render() -> str:
    """Render the tables as the reference page shows them."""
    lines = [
        "# States",
        "",
        "Made from `dadmsd/kernel/core/lifecycle.py`; `python -m tests.unit.kernel.test_lifecycle` writes it anew.",
        "",
        "## A child: version zygote, main or worker",
        "",
        "| phase | what it means | on entering |",
        "|---|---|---|",
        *(f"| `{phase}` | {MEANING[phase]} | {ENTERING.get(phase, '')} |" for phase in PHASES),
        "",
        "What a report leads to; `-`: it lost a race, and changes nothing.",
        "",
        "| | " + " | ".join(f"`{stimulus}`" for stimulus in STIMULI) + " |",
        "|---" * (len(STIMULI) + 1) + "|",
        *(f"| `{phase}` | " + " | ".join(LIFECYCLE[phase][stimulus] for stimulus in STIMULI) + " |" for phase in PHASES),
        "",
        "```mermaid",
        "stateDiagram-v2",
        "    [*] --> forking",
        *sorted(
            f"    {phase} --> {follows}: {stimulus}"
            for phase in PHASES
            for stimulus, follows in LIFECYCLE[phase].items()
            if follows != IGNORE
        ),
        "    exited --> [*]",
        "```",
        "",
        "## A process",
        "",
        "What is wanted and what is are two things. What is **desired** is changed by requests and definitions alone:",
        "",
        "| desired | what it means |",
        "|---|---|",
        *(f"| `{desired}` | {meaning} |" for desired, meaning in DESIRED.items()),
        "",
        "What is **observed** is its status; the last four are ends, and what has ended can be started again under its pid, as its next incarnation:",
        "",
        "| status | what it means |",
        "|---|---|",
        *(f"| `{status}` | {meaning} |" for status, meaning in PROCESS_STATUSES.items()),
        "",
        "| stimulus | what it means |",
        "|---|---|",
        *(f"| `{stimulus}` | {meaning} |" for stimulus, meaning in PROCESS_STIMULI.items()),
        "",
        "What a stimulus leads to; `-`: nothing; *end*: the one of the ends that was settled when the end began.",
        "",
        "| | " + " | ".join(f"`{stimulus}`" for stimulus in PROCESS_STIMULI) + " |",
        "|---" * (len(PROCESS_STIMULI) + 1) + "|",
        *(
            f"| `{status}` | " + " | ".join("*end*" if cell == THE_END else cell for cell in PROCESS_LIFECYCLE[status].values()) + " |"
            for status in PROCESS_STATUSES
        ),
        "",
        "## A thread",
        "",
        "| state | what it means |",
        "|---|---|",
        *(f"| `{state}` | {meaning} |" for state, meaning in THREAD_STATES.items()),
        "",
        "| stimulus | what it means |",
        "|---|---|",
        *(f"| `{stimulus}` | {meaning} |" for stimulus, meaning in THREAD_STIMULI.items()),
        "",
        "What a stimulus leads to; `-`: nothing. A thread that has ended never changes again. What is async is `waiting` for as",
        "long as it is in its worker: which of many its worker steps at an instant, nobody else knows. Until its next wait it may also complete while it is `suspended`.",
        "",
        "| | " + " | ".join(f"`{stimulus}`" for stimulus in THREAD_STIMULI) + " |",
        "|---" * (len(THREAD_STIMULI) + 1) + "|",
        *(f"| `{state}` | " + " | ".join(THREAD_LIFECYCLE[state].values()) + " |" for state in THREAD_STATES),
        "",
    ]
    return "\n".join(lines)


def test_every_cell_of_the_table_is_filled() -> None:
    """Each phase answers each stimulus with a phase or by ignoring it."""
    assert set(LIFECYCLE) == set(PHASES)
    for phase in PHASES:
        assert set(LIFECYCLE[phase]) == set(STIMULI), phase
        assert set(LIFECYCLE[phase].values()) <= {*PHASES, IGNORE}, phase


def test_exited_is_final() -> None:
    """Nothing leads out of the last phase."""
    assert set(LIFECYCLE["exited"].values()) == {IGNORE}


def test_every_living_phase_can_be_left_by_an_exit_and_by_a_kill() -> None:
    """Whatever a child is doing, its exit is taken in, and a kill reaches it."""
    for phase in ALIVE:
        assert LIFECYCLE[phase]["exited"] == "exited"
        assert LIFECYCLE[phase]["kill"] in ("killing", IGNORE)
    assert LIFECYCLE["killing"]["kill"] == IGNORE


def test_ended_statuses_are_statuses() -> None:
    """The names of the ends are names of the table."""
    assert set(PROCESS_STATUSES) >= ENDED


def test_every_cell_of_the_table_of_processes_is_filled() -> None:
    """Each status answers each stimulus, in one order; an end is left by a start alone, but for a stop, which a kill makes one for good; and every living status by an end."""
    assert set(PROCESS_LIFECYCLE) == set(PROCESS_STATUSES)
    for status, cells in PROCESS_LIFECYCLE.items():
        assert list(cells) == list(PROCESS_STIMULI), status
        assert set(cells.values()) <= {*PROCESS_STATUSES, IGNORE, THE_END}, status
        if status in ENDED:
            after_all = {"kill": "killed"} if status == "stopped" else {}
            assert {stimulus: cell for stimulus, cell in cells.items() if cell != IGNORE} == {"start": "admitted"} | after_all
        elif status != "stopping":
            assert cells["end"] == "stopping"


def test_the_page_shows_the_tables() -> None:
    """docs/reference/states.md is what the tables render to."""
    assert PAGE.read_text(encoding="utf-8") == render()


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
