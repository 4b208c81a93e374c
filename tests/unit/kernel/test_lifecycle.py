"""The lifecycle table is total, ends where it must, and the page shows it as it is."""

from pathlib import Path

from dadmsd.kernel.core.lifecycle import ALIVE, ENDED, ENTERING, IGNORE, LIFECYCLE, MEANING, PHASES, PROCESS_STATUSES, STIMULI

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "states.md"


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
        "| status | what it means |",
        "|---|---|",
        *(f"| `{status}` | {meaning} |" for status, meaning in PROCESS_STATUSES.items()),
        "",
        "## A thread",
        "",
        "`ready` → `running` → `completed`, `error`, `terminated` or `timed_out`. `sent`: in a worker, behind another one, and not begun. A thread that has ended never",
        "changes again.",
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


def test_the_page_shows_the_tables() -> None:
    """docs/reference/states.md is what the tables render to."""
    assert PAGE.read_text(encoding="utf-8") == render()


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
