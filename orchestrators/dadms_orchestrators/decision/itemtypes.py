"""Item definitions to types.

Rule 1: definitions may stand in any order and name each other; one that contains itself is a tree of unknown depth, which
is allowed, except where it is nothing but itself.
Rule 2: a name is looked up among the model's definitions, then FEEL's types; ``prefix.name`` and ``prefix:name`` in imports;
``list<…>`` and its like are read as FEEL writes types.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dadms_orchestrators.decision.errors import DecisionError
from dadms_orchestrators.decision.feel.types import Type, from_syntax, simple
from dadms_orchestrators.decision.feel.typetext import parse_type
from dadms_orchestrators.decision.xmltree import Element

UNNAMED = "\0"  # starts the key of an import without a name, whose types and nodes stand beside the model's own
Constraint = Callable[[Element, str], Callable[[Any], bool | None] | None]  # (text element, name of the type) -> test


class ItemTypes:
    """The types of one model."""

    def __init__(self, definitions: Element, imports: Mapping[str, ItemTypes], constraint: Constraint) -> None:
        """Know the item definitions below ``definitions``."""
        self.elements = {element.get("name"): element for element in definitions.all("itemDefinition")}
        self.imports = imports
        self.constraint = constraint
        self.made: dict[str, Type] = {}

    def lookup(self, name: str) -> Type | None:
        """Return the type of a name, None where nobody defined it."""
        name = name.strip()
        if not name:
            return None
        if name in self.made:
            return self.made[name]
        if name in self.elements:
            placeholder = self.made[name] = Type("Any", name)  # seen by definitions that contain themselves
            found = self._define(self.elements[name], name)
            for field in Type.__struct_fields__:
                setattr(placeholder, field, getattr(found, field))
            return placeholder
        for separator in (":", "."):
            prefix, found_separator, local = name.partition(separator)
            if found_separator and prefix in self.imports:
                return self.imports[prefix].lookup(local)
        if ":" in name:
            return self.lookup(name.partition(":")[2])
        for key, imported in self.imports.items():
            found_there = imported.lookup(name) if key.startswith(UNNAMED) else None
            if found_there is not None:
                return found_there
        if "<" in name:
            try:
                return from_syntax(parse_type(name), self.lookup)
            except DecisionError:
                return None
        return simple(name)

    def _define(self, element: Element, name: str) -> Type:
        function = element.child("functionItem")
        components = list(element.all("itemComponent"))
        if function is not None:
            parameters = [self.lookup(p.get("typeRef")) or Type("Any") for p in function.all("parameters")]
            made = Type("function", name, parameters=parameters, result=self.lookup(function.get("outputTypeRef")))
        elif components:
            fields = {part.get("name"): self._define(part, "") for part in components}
            made = Type("context", name, fields=fields)
        else:
            base = self.lookup(element.text_of("typeRef") or element.get("typeRef")) or Type("Any")
            made = Type(base.kind, name or base.name, base.item, base.fields, base.parameters, base.result, base.allows, base.allowed_text)
        self._constrain(made, element.child("allowedValues"), name, each=True)
        if element.get("isCollection") == "true":
            if not components and function is None:
                made.name = made.name if made.name != name else (element.text_of("typeRef") or name)
            made = Type("list", name, item=made)
        self._constrain(made, element.child("typeConstraint"), name, each=False)
        return made

    def _constrain(self, made: Type, allowed: Element | None, name: str, *, each: bool) -> None:
        text = allowed.child("text") if allowed is not None else None
        test = self.constraint(text, name) if text is not None else None
        if text is None or test is None:
            return
        before = made.allows

        def allows(value: Any) -> bool | None:
            if before is not None and before(value) is not True:
                return False
            if each and isinstance(value, list):
                return all(item is None or test(item) is True for item in value)
            return test(value)

        made.allows = allows
        made.allowed_text = text.text.strip()
