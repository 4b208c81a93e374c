"""XML to a small tree with lines, safely.

Rule 1: no document type, so no entities, external or internal; a model needs none, and each is a way to be attacked.
Rule 2: size, depth and number of elements are limited before anything is built from them.
Rule 3: names are kept without their prefix; what an attribute means does not depend on its namespace in DMN.

The parser is expat of the standard library: it reports every event as it comes, so the limits act while reading, and
nothing has to be installed or imported besides it (lxml would be 5 MB more in every zygote).
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.parsers import expat

import msgspec

from dadms_orchestrators.decision.errors import DecisionError, LimitExceeded, Place

MAX_BYTES = 8 * 1024 * 1024  # of one file, as of a BPMN model and of whatever the command line reads
MAX_ELEMENTS = 1_000_000  # some 30 times the largest model of the conformance kit's vendors
MAX_DEPTH = 200  # of elements; a boxed context in a context costs four


class Element(msgspec.Struct):
    """One element; ``text`` is what stands directly in it, ``line`` where that (or the element) begins."""

    tag: str
    namespace: str
    attributes: dict[str, str]
    line: int
    children: list[Element] = []
    text: str = ""
    text_line: int = 0
    prefixes: dict[str, str] = {}  # declared on the root

    def get(self, name: str, default: str = "") -> str:
        """Return an attribute."""
        return self.attributes.get(name, default)

    def child(self, *tags: str) -> Element | None:
        """Return the first child with one of some tags."""
        return next((child for child in self.children if child.tag in tags), None)

    def all(self, *tags: str) -> Iterator[Element]:
        """Iterate over the children with one of some tags."""
        return (child for child in self.children if child.tag in tags)

    def text_of(self, tag: str) -> str:
        """Return the text of a child, or nothing."""
        found = self.child(tag)
        return found.text.strip() if found else ""


def parse_xml(source: bytes | str, name: str) -> Element:
    """Return the root of a document; raise ``DecisionError`` where it cannot be read."""
    data = source.encode() if isinstance(source, str) else source
    if len(data) > MAX_BYTES:
        raise LimitExceeded(f'cannot read "{name}"', f"{len(data)} bytes, at most {MAX_BYTES} are read", Place(name))
    if isinstance(source, str) and data.lstrip()[:5] == b"<?xml":
        data = data[data.index(b"?>") + 2 :] if b"?>" in data[:200] else data  # its encoding was that of the bytes
    parser = expat.ParserCreate(namespace_separator="\n")
    builder = _Builder(parser, name)
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        place = Place(name, line=error.lineno, column=error.offset + 1)
        raise DecisionError(f'cannot read "{name}"', f"it is not well-formed XML: {expat.ErrorString(error.code)}", place) from None
    if builder.root is None:
        raise DecisionError(f'cannot read "{name}"', "it is empty", Place(name))
    return builder.root


class _Builder:
    """Takes the events of expat."""

    def __init__(self, parser: expat.XMLParserType, name: str) -> None:
        self.parser, self.name = parser, name
        self.root: Element | None = None
        self.open: list[Element] = []
        self.count = 0
        self.prefixes: dict[str, str] = {}
        parser.buffer_text = True
        parser.StartElementHandler = self.start
        parser.EndElementHandler = self.end
        parser.CharacterDataHandler = self.characters
        parser.StartDoctypeDeclHandler = self.doctype
        parser.StartNamespaceDeclHandler = self.namespace

    def namespace(self, prefix: str | None, uri: str) -> None:
        self.prefixes.setdefault(prefix or "", uri)

    def doctype(self, *_: object) -> None:
        raise DecisionError(f'cannot read "{self.name}"', "it declares a document type, which models may not", self.place())

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self.count += 1
        if self.count > MAX_ELEMENTS or len(self.open) >= MAX_DEPTH:
            reason = f"more than {MAX_ELEMENTS} elements, or {MAX_DEPTH} inside each other"
            raise LimitExceeded(f'cannot read "{self.name}"', reason, self.place())
        namespace, _, local = tag.rpartition("\n")
        plain = {key.rpartition("\n")[2]: value for key, value in reversed(attributes.items())}
        element = Element(local, namespace, plain, self.parser.CurrentLineNumber)
        if self.open:
            self.open[-1].children.append(element)
        else:
            self.root = element
            element.prefixes = self.prefixes
        self.open.append(element)

    def end(self, _: str) -> None:
        self.open.pop()

    def characters(self, text: str) -> None:
        element = self.open[-1]
        if not element.text:
            element.text_line = self.parser.CurrentLineNumber - text.count("\n")  # expat reports a text at its end
        element.text += text

    def place(self) -> Place:
        return Place(self.name, line=self.parser.CurrentLineNumber, column=self.parser.CurrentColumnNumber + 1)
