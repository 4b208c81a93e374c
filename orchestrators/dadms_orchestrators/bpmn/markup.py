"""Reading XML that nobody vouches for: a tree of elements with their lines, or a refusal.

Rule 1: no document type, so no entity, no external file and no network; expat resolves nothing else by itself.
Rule 2: size, depth and number of elements are limited before they cost memory.
Rule 3: every element knows the line of its tag and of its text, since every refusal names one.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.parsers import expat

from dadms_orchestrators.bpmn.refusal import Finding, ModelRefused

MAX_BYTES = 8 * 1024 * 1024  # the largest model of the BPMN interchange group has 240 KB
MAX_DEPTH = 100  # elements within elements; sub-processes and diagrams need about twenty
MAX_ELEMENTS = 200_000  # about 100 MB of tree

Name = tuple[str, str]  # namespace and local name


class Element:
    """One element: `text` is what stands directly in it, `text_line` the line on which that begins."""

    __slots__ = ("attributes", "children", "chunks", "line", "name", "text", "text_line")

    def __init__(self, name: Name, attributes: dict[Name, str], line: int) -> None:
        self.name = name
        self.attributes = attributes
        self.line = line
        self.children: list[Element] = []
        self.chunks: list[str] = []
        self.text = ""
        self.text_line = 0

    def get(self, local: str, namespace: str = "") -> str | None:
        """An attribute, None when it is absent."""
        return self.attributes.get((namespace, local))

    def all(self, namespace: str, *locals_: str) -> Iterator[Element]:
        """The direct children of these names, in order."""
        return (child for child in self.children if child.name[0] == namespace and child.name[1] in locals_)

    def first(self, namespace: str, local: str) -> Element | None:
        """The first direct child of this name."""
        return next(self.all(namespace, local), None)


def _split(name: str) -> Name:
    namespace, _, local = name.rpartition(" ")
    return namespace, local


def parse_xml(source: bytes, file: str) -> Element:
    """The root element; raises ModelRefused."""

    def refused(reason: str, line: int | None) -> ModelRefused:
        return ModelRefused([Finding(file, line, None, reason)])

    if not source.strip():
        raise refused(f"the file is empty ({len(source)} bytes)", None)
    if len(source) > MAX_BYTES:
        raise refused(f"the file has {len(source)} bytes, and {MAX_BYTES} are allowed", None)

    parser = expat.ParserCreate(namespace_separator=" ")
    root: list[Element] = []
    stack: list[Element] = []
    count = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal count
        count += 1
        line = parser.CurrentLineNumber
        if len(stack) >= MAX_DEPTH:
            raise refused(f"elements are nested deeper than {MAX_DEPTH} levels", line)
        if count > MAX_ELEMENTS:
            raise refused(f"the file has more than {MAX_ELEMENTS} elements", line)
        element = Element(_split(name), {_split(key): value for key, value in attributes.items()}, line)
        (stack[-1].children if stack else root).append(element)
        stack.append(element)

    def text(data: str) -> None:
        element = stack[-1]
        if not element.text_line and not data.isspace():
            element.text_line = parser.CurrentLineNumber
        element.chunks.append(data)

    def end(_: str) -> None:
        element = stack.pop()
        element.text = "".join(element.chunks)
        element.chunks = []
        element.text_line = element.text_line or element.line

    def doctype(*_: object) -> None:
        raise refused("the file declares a document type (DOCTYPE), which a model never needs and an attack does", parser.CurrentLineNumber)

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(source, True)
    except expat.ExpatError as error:
        reason = f"this is not XML: {expat.ErrorString(error.code)} (column {error.offset + 1})"
        if rb">\n" in source or rb"\n<" in source:
            reason += r'; the file holds the two characters "\n" where a line should end'
        raise refused(reason, error.lineno) from None
    except (LookupError, ValueError) as error:  # an encoding that Python lacks, or that expat cannot use
        raise refused(f"the file's encoding cannot be read: {error}", 1) from None
    return root[0]
