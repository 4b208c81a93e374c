"""The table of the daemon's end."""

from dadmsd.keeper.servers import KERNEL, LOGGER
from dadmsd.keeper.stages import RULES, Stage


def test_every_stage_but_the_first_and_last_has_a_deadline() -> None:
    assert {stage for stage, rule in RULES.items() if rule.lasts is None} == {Stage.RUNNING, Stage.OVER}
    assert set(RULES) == set(Stage)


def test_every_way_through_the_stages_ends() -> None:
    for way in ("then", "late"):
        stage, ways = Stage.ASKED, 0
        while stage is not Stage.OVER:
            following: Stage = getattr(RULES[stage], way)
            assert following > stage
            stage, ways = following, ways + 1
        assert ways <= len(Stage)


def test_an_orderly_end_kills_nothing_before_the_servers_have_ended() -> None:
    stage, path = Stage.ASKED, [Stage.ASKED]
    while stage is not Stage.OVER:
        stage = RULES[stage].then
        path.append(stage)
    assert Stage.KILLING not in path
    assert path == sorted(path)


def test_the_logger_is_kept_until_it_has_the_last_word_and_a_kernel_only_while_it_has_work() -> None:
    kept = {stage for stage, rule in RULES.items() if LOGGER in rule.restarted}
    assert kept == {stage for stage in Stage if stage < Stage.DRAINING}
    assert {stage for stage, rule in RULES.items() if KERNEL in rule.restarted} == {Stage.RUNNING, Stage.ASKED, Stage.TIDYING}
