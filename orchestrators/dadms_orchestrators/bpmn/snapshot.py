"""A running instance as JSON bytes, and back.

Rule 1: what is written is the present: tokens, scopes, open work, timers. History that nothing asks for is not kept, so the size does not grow with the time that a run took.
Rule 2: steps that were not collected yet are not written. After a restore every open task is given again, under the same id.
Rule 3: a snapshot belongs to the sources it was made with; another model refuses it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
from SpiffWorkflow.util.task import TaskState

from dadms_orchestrators.bpmn.refusal import RunRefused
from dadms_orchestrators.bpmn.specs import Boundary, Catch
from dadms_orchestrators.bpmn.steps import RunError
from dadms_orchestrators.bpmn.tokens import SubInstance, Token, Tree
from dadms_orchestrators.bpmn.variables import Scope
from dadms_orchestrators.bpmn.work import Open

if TYPE_CHECKING:
    from dadms_orchestrators.bpmn.run import Run

VERSION = 1  # of the layout below


class TokenRow(msgspec.Struct, array_like=True):
    """One token; ids are small integers."""

    id: int
    spec: str
    state: int
    source: str
    parent: int | None
    children: list[int]
    internal: dict[str, Any]


class TreeRow(msgspec.Struct):
    """An instance; `owner` is the token of the sub-process or call activity, `local` the scope of its input parameters."""

    owner: int | None
    spec: str
    root: int
    completed: bool
    variables: dict[str, Any]
    local: dict[str, Any] | None
    tokens: list[TokenRow]


class OpenRow(msgspec.Struct):
    """Work or a user task that is out; `past` and `later` say how the variables that it began with differ from those of now."""

    id: str
    kind: str
    token: int
    inputs: dict[str, Any]
    connector: dict[str, Any] | None
    past: dict[str, Any]
    later: list[str]


class Snapshot(msgspec.Struct):
    """A run."""

    version: int
    digest: str
    instance: str
    business_key: str | None
    now: float
    serial: int
    token_count: int
    status: str
    error: RunError | None
    end_event: str | None
    path: list[str]
    gone: list[str]
    trees: list[TreeRow]
    ready: list[int]
    arming: list[int]
    open: list[OpenRow]


def _number(identifier: UUID | None) -> int | None:
    return None if identifier is None else identifier.int


def _tree_row(tree: Any) -> TreeRow:
    rows = [
        TokenRow(
            token.id.int,
            token.task_spec.name,
            token._state,
            token.source,
            _number(token._parent),
            [child.int for child in token._children],
            token.internal_data,
        )
        for token in tree.tasks.values()
    ]
    is_sub = isinstance(tree, SubInstance)
    local = tree.local.values if is_sub and tree.local is not None else None
    return TreeRow(
        tree.owner.id.int if is_sub else None, tree.spec.name, tree.task_tree.id.int, tree.completed, tree.scope.values, local, rows
    )


def _open_row(opened: Open) -> OpenRow:
    now = opened.scope.all()
    unset = object()
    past = {name: value for name, value in opened.seen.items() if now.get(name, unset) is not value}  # values are never changed in place
    later = [name for name in now if name not in opened.seen]
    return OpenRow(opened.id, opened.kind, opened.token.id.int, opened.scope.values, opened.connector, past, later)


def take(run: Run) -> bytes:
    """The snapshot of a run."""
    top = run._top
    return msgspec.json.encode(
        Snapshot(
            version=VERSION,
            digest=run.definition.checked.digest,
            instance=run.instance,
            business_key=run.business_key,
            now=run._now,
            serial=run._serial,
            token_count=top.token_count,
            status=run._status,
            error=run._error,
            end_event=run._end_event,
            path=run._path,
            gone=sorted(run._gone),
            trees=[_tree_row(tree) for tree in top.trees()],
            ready=[token.id.int for token in top.ready],
            arming=[token.id.int for token in run._arming],
            open=[_open_row(opened) for opened in run._open.values()],
        )
    )


def read(definition: Any, data: bytes) -> Snapshot:
    """A snapshot that fits a definition; raises RunRefused."""
    try:
        snapshot = msgspec.json.decode(data, type=Snapshot)
    except (msgspec.DecodeError, RecursionError) as error:
        raise RunRefused(f"cannot restore a run: the snapshot cannot be read: {error}") from None
    if snapshot.version != VERSION:
        raise RunRefused(f"cannot restore a run: the snapshot has layout {snapshot.version}, and this program reads {VERSION}")
    if snapshot.digest != definition.checked.digest:
        raise RunRefused(f"cannot restore a run: the snapshot was made with other sources than {definition.checked.file} now has")
    return snapshot


def put(run: Run, snapshot: Snapshot) -> None:
    """Fill a run that was just begun with a snapshot; raises RunRefused when the snapshot contradicts itself."""
    try:
        _put(run, snapshot)
    except (KeyError, AttributeError, TypeError) as error:
        raise RunRefused(f"cannot restore a run: the snapshot contradicts itself at {error}") from None


def _put(run: Run, snapshot: Snapshot) -> None:
    top = run._top
    tokens: dict[int, Token] = {}
    for row in snapshot.trees:
        if row.owner is None:
            tree: Any = top
            tree.scope = Scope(row.variables)
        else:
            owner = tokens[row.owner]
            tree = SubInstance(run.definition.specs[row.spec], owner, top)
            top.subprocesses[owner.id] = tree
            called = row.local is not None
            tree.scope = Scope(row.variables, None if called else owner.workflow.scope)
            tree.local = Scope(row.local, owner.workflow.scope) if called else None
        _fill(tree, row, tokens)
    top.token_count = snapshot.token_count
    top.ready.clear()
    top.ready.extend(tokens[number] for number in snapshot.ready)
    run._arming.extend(tokens[number] for number in snapshot.arming)
    run._serial = snapshot.serial
    run._status, run._error, run._end_event = snapshot.status, snapshot.error, snapshot.end_event
    run._path, run._gone = snapshot.path, set(snapshot.gone)
    for entry in snapshot.open:
        token = tokens[entry.token]
        scope = Scope(entry.inputs, token.workflow.scope)
        seen = {name: value for name, value in {**scope.all(), **entry.past}.items() if name not in entry.later}
        run._open[entry.id] = Open(entry.id, entry.kind, token, scope, seen=seen, connector=entry.connector)


def _fill(tree: Tree, row: TreeRow, tokens: dict[int, Token]) -> None:
    tree.completed = row.completed
    for entry in row.tokens:
        token = tokens[entry.id] = Token(tree, tree.spec.task_specs[entry.spec], None, entry.state, UUID(int=entry.id))
        token.source = entry.source
        token._parent = None if entry.parent is None else UUID(int=entry.parent)
        token._children = [UUID(int=child) for child in entry.children]
        token.internal_data = entry.internal
        if entry.state == TaskState.WAITING and isinstance(token.task_spec, Boundary | Catch):
            tree.top_workflow.event_manager.add_task(token)
    tree.task_tree = tokens[row.root]
