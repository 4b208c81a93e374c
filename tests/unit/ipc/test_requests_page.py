"""docs/reference/requests.md is made from the types of requests and answers: what a client in another language writes by hand, and reads.

``python -m tests.unit.ipc.test_requests_page`` writes it anew. Names, types, defaults and comments are those of the source, docstrings without their line breaks.
"""

import ast
import inspect
import io
import re
import textwrap
import tokenize
import types
import typing
from pathlib import Path
from typing import Any

import msgspec

from dadms_ipc import dead_letters, infos, requests, specs
from dadms_ipc.answers import ANSWERS
from tests.unit.kernel.driver import Driver

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "requests.md"
BEGINNING = """# Requests and answers

Made from the types of `dadms_ipc`; `python -m tests.unit.ipc.test_requests_page` writes it anew.

What a CALL of the [protocol](protocol.md#requests-to-the-kernel) carries, and what its REPLY does when its status is `ok`. Everything is MessagePack. A request is a map with its name under `verb`: `{"verb": "kill", "pid": 1001, "force": true}`.
A field with a default may be left out, and a field that is not here is refused. Whoever reads an answer ignores fields that it does not know. Times that end in `_at` are seconds since 1970, all others are durations; sizes are bytes.
"""
PLAIN = {int: "integer", float: "number", str: "text", bool: "boolean", bytes: "binary", Any: "any value", object: "any value", msgspec.Raw: "any value"}  # fmt: skip
MAPS: dict[str, tuple[str, ...]] = {  # what is answered with a map that is no type of ours -> its keys
    "spawn": ("pid",),
    **dict.fromkeys(("start", "stop", "restart", "suspend", "resume", "kill"), ("pid", "was")),
    "limits": ("pid", "limits", "warnings", "limit_values"),
    **dict.fromkeys(("kill-thread", "resume-thread", "set-thread-priority"), ("tid",)),
    "suspend-thread": ("tid", "cooperative"),
    "shutdown": ("processes",),
    "replay-dead-letter": ("number",),
    "drop-dead-letters": ("dropped",),
}
OTHERS = {verb: f"a map of {', '.join(f'`{key}`' for key in keys)}" for verb, keys in MAPS.items()} | {
    "status": "[ProcessInfo](#processinfo), or [DaemonInfo](#daemoninfo)",
    "read-context": "[by the operation](context.md#on-the-wire)",
    "change-context": "[by the operation](context.md#on-the-wire)",
}
VERBS = {each.__name__: str(each.__struct_config__.tag) for each in typing.get_args(requests.Request)}


def render() -> str:
    """Make the page."""
    parts = [BEGINNING]
    for title, union, roles in (
        ("To the kernel", requests.Request, requests.ROLE_NEEDED),
        ("To the bus", dead_letters.Request, dead_letters.ROLE_NEEDED),
    ):
        parts.append(f"## {title}\n")
        for kind in typing.get_args(union):
            verb = str(kind.__struct_config__.tag)
            answer = OTHERS.get(verb) or _type(ANSWERS[kind])
            parts.append(f"### Request `{verb}`\n\n{_about(kind)}\n\nRole: `{roles[kind]}`. Answer: {answer}.\n{_fields(kind)}")
    for title, module in (("What a process is asked to be", specs), ("What is answered", infos), ("Dead letters", dead_letters)):
        parts.append(f"## {title}\n")
        parts += [
            f"### {name}\n\n{_about(kind)}\n{_fields(kind)}"
            for name, kind in vars(module).items()
            if isinstance(kind, msgspec.StructMeta) and kind.__module__ == module.__name__ and kind.__struct_config__.tag is None
        ]
    return "\n".join(parts)


def _about(kind: type) -> str:
    paragraphs = inspect.cleandoc(kind.__doc__ or "").split("\n\n")
    return _marked("\n".join(paragraph.replace("\n", " ") for paragraph in paragraphs))


def _marked(text: str) -> str:
    """Name requests as they travel."""
    return re.sub(r"``(.*?)``", lambda found: f"`{VERBS.get(found[1], found[1])}`", text)


def _fields(kind: type) -> str:
    comments = _comments(kind)
    rows = [
        f"| `{field.name}` | {_type(field.type)} | {_default(field)} | {comments.get(field.name, '')} |"
        for field in msgspec.structs.fields(kind)
    ]
    return "\n".join(["", "| field | type | default | |", "|---|---|---|---|", *rows, ""]) if rows else ""


def _type(annotation: Any) -> str:
    if annotation in PLAIN:
        return PLAIN[annotation]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (list, tuple):
        return f"array of {_type(arguments[0])}"
    if origin is dict:
        return f"map of {_type(arguments[1])}"
    if origin in (types.UnionType, typing.Union):
        found = [_type(each) for each in arguments if each is not type(None)]
        said = "[an operation](context.md#on-the-wire)" if len(found) > 2 else " or ".join(found)
        return f"{said}, or nil" if type(None) in arguments else said
    return f"[{annotation.__name__}](#{annotation.__name__.lower()})"


def _default(field: Any) -> str:
    if field.required:
        return ""
    if field.default_factory is not msgspec.NODEFAULT:
        return f"`{msgspec.json.encode(field.default_factory()).decode()}`"
    if isinstance(field.default, msgspec.Raw):
        return f"`{msgspec.json.encode(msgspec.msgpack.decode(field.default)).decode()}`"
    return "all of its own" if isinstance(field.default, msgspec.Struct) else f"`{msgspec.json.encode(field.default).decode()}`"


def _comments(kind: type) -> dict[str, str]:
    """Read what stands behind the fields of a class in its source."""
    source = textwrap.dedent(inspect.getsource(kind))
    (node,) = ast.parse(source).body
    assert isinstance(node, ast.ClassDef)
    fields = {each.lineno: each for each in node.body if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)}
    found = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            for field in fields.values():
                if field.lineno <= token.start[0] <= (field.end_lineno or 0):
                    assert isinstance(field.target, ast.Name)
                    found[field.target.id] = _marked(token.string.removeprefix("# ")).replace("|", "\\|")
    return found


def test_the_page_shows_the_types() -> None:
    """Every request with every field of it, and all that is answered."""
    assert PAGE.read_text(encoding="utf-8") == render(), "python -m tests.unit.ipc.test_requests_page writes it anew"


def test_the_page_says_what_the_kernel_answers() -> None:
    """Where that is a map which has no type."""
    driver, said = Driver(), {}
    pid = driver.run()
    driver.submit(pid, 2)
    for request in (
        requests.Spawn(requests.Spec("q", "decision")), requests.ChangeLimits(pid, {}), requests.SetThreadPriority(1, 5), requests.SuspendThread(1), requests.ResumeThread(1),
        requests.KillThread(1), requests.Suspend(pid), requests.Resume(pid), requests.Stop(pid), requests.Start(pid), requests.Restart(pid), requests.Kill(pid), requests.Shutdown(),
    ):  # fmt: skip
        said[VERBS[type(request).__name__]] = tuple(driver.answer(request))
    assert said == {verb: keys for verb, keys in MAPS.items() if verb in VERBS.values()}


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
