"""The end of a log: the user's own frames, without what stands before and below them."""

from dadmsctl.excerpt import SHOWN, excerpt

HEAD = "2026-11-22T18:56:48.811Z 1001.1 "
LOG = """about to work
thread 17 (external):
Traceback (most recent call last):
  File "/usr/lib/dadms_orchestrators/sdk/tasks.py", line 40, in call_handler
    return _variables(declaration.function(task))
                      ^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/home/me/handlers.py", line 7, in work
    return {"a": inner(0)}
                 ^^^^^^^^
  File "/home/me/handlers.py", line 3, in inner
    return 1 / x
           ~~^~~
ZeroDivisionError: division by zero
"""


def test_an_excerpt_has_what_the_user_wrote_and_where_it_failed() -> None:
    assert excerpt(HEAD + line for line in LOG.split("\n")) == [
        "about to work",
        '  File "/home/me/handlers.py", line 7, in work',
        '    return {"a": inner(0)}',
        '  File "/home/me/handlers.py", line 3, in inner',
        "    return 1 / x",
        "ZeroDivisionError: division by zero",
    ]


def test_a_traceback_without_a_frame_of_the_user_says_nothing_to_them() -> None:
    log = """before
Traceback (most recent call last):
  File "/usr/lib/dadms_orchestrators/bpmn/decisions.py", line 72, in run_decision
    raise DecisionFailed("no")
           ~~~^~~~
dadms_orchestrators.bpmn.decisions.DecisionFailed: no

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/usr/lib/dadmsd/worker/loop.py", line 1, in _run
ValueError: no

after
"""
    assert excerpt(HEAD + line for line in log.split("\n")) == ["before", "after"]


def test_of_many_lines_the_last_stay() -> None:
    assert excerpt(f"{HEAD}line {number}" for number in range(100)) == [f"line {number}" for number in range(100 - SHOWN, 100)]


def test_a_line_of_another_form_stays_as_it_is() -> None:
    assert excerpt(["[logger: 3 bytes were lost here: the disk is full]", '    File "x"', ""]) == [
        "[logger: 3 bytes were lost here: the disk is full]",
        '    File "x"',
    ]
