"""What a type of network function says about itself, once, for every kind of node (R27, R28; DESIGN section 5).

A :class:`Descriptor` names type and version, the forms it comes in, the indicators it publishes, what an instance
needs and, for disaggregated functions, its components. The shape of a configuration is a pydantic model: the JSON
Schema in the catalog is generated from it, and a configuration that does not fit is refused with field, value and
fix. A :class:`Registry` holds the functions that an agent can run; it is an argument, never a global.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from isthmus.contract.chain import Resources
from isthmus.contract.instance import CatalogEntry
from isthmus.vnf.errors import ConfigRefused, DescriptorRefused, TypeUnknown
from isthmus.vnf.program import Mark, Program

Form = Literal["kernel", "process", "container", "vm"]
_SEGMENT = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


class Parameters(BaseModel):
    """Base of every configuration: typed fields only, nothing converted silently, nothing unknown let through."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


P = TypeVar("P", bound=Parameters)
Model = type[Parameters]


@dataclass(frozen=True, slots=True)
class Component:
    """One part of a disaggregated function: placed and scaled by itself (R27)."""

    name: str
    form: Form
    resources: Resources = field(default_factory=Resources)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A VNF type. ``parameters`` is the model of its configuration; ``indicators`` the counters it publishes."""

    type: str
    version: str
    summary: str
    forms: tuple[Form, ...]
    parameters: Model
    indicators: tuple[str, ...] = ("packets_forward", "packets_reverse", "packets_dropped")
    resources: Resources = field(default_factory=Resources)
    components: tuple[Component, ...] = ()

    def __post_init__(self) -> None:
        for name in (self.type, self.version, *(part.name for part in self.components)):
            if not _SEGMENT.fullmatch(name):
                raise DescriptorRefused(f"{name[:80]!r}: 1 to 63 of [a-z0-9._-], letter first")
        if not self.forms:
            raise DescriptorRefused(f"{self.type}/{self.version}: at least one form is needed")

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of a configuration, for the catalog and for people's editors."""
        return self.parameters.model_json_schema()

    def check(self, parameters: Mapping[str, Any]) -> Parameters:
        """The typed configuration in ``parameters``; raises ConfigRefused naming field, value and fix."""
        return check_parameters(self.parameters, parameters)

    def catalog_entry(self) -> CatalogEntry:
        """What a site's intake writes at ``catalog/<type>/<version>``."""
        return CatalogEntry(
            type=self.type,
            version=self.version,
            form=self.forms[0],
            config_schema=self.schema(),
            indicators=self.indicators,
            resources=self.resources,
        )


def check_parameters(model: type[P], parameters: Mapping[str, Any]) -> P:
    """``parameters`` as ``model``, read strictly as JSON; raises ConfigRefused for the first field that is wrong."""
    try:
        text = json.dumps(dict(parameters), allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise ConfigRefused("parameters", type(parameters).__name__, "give plain JSON") from None
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise _refusal(model, error.errors(include_url=False)[0]) from None


def _refusal(model: type[Parameters], first: ErrorDetails) -> ConfigRefused:
    where = ".".join(str(part) for part in first["loc"]) or "parameters"
    value: object = first["input"]
    if first["type"] == "extra_forbidden":
        known = ", ".join(sorted(model.model_fields))
        return ConfigRefused(where, value, f"there is no such field here (of the type: {known})")
    if first["type"] == "missing":
        return ConfigRefused(where, "", "this field is required")
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return ConfigRefused(where, value, message)


class KernelFunction(Protocol):
    """A function whose packets are handled by the kernel: a pure renderer from configuration to program."""

    @property
    def descriptor(self) -> Descriptor: ...

    def render(self, parameters: Parameters, mark: Mark) -> Program:
        """The whole program for ``parameters``; the same arguments give the same bytes."""
        ...


class Registry:
    """The functions an agent can run, by type and version."""

    def __init__(self, *functions: KernelFunction) -> None:
        self._functions: dict[tuple[str, str], KernelFunction] = {}
        for function in functions:
            self.register(function)

    def register(self, function: KernelFunction) -> None:
        """Add ``function``; raises DescriptorRefused when its type and version are taken."""
        descriptor = function.descriptor
        name = (descriptor.type, descriptor.version)
        if name in self._functions:
            raise DescriptorRefused(f"{descriptor.type}/{descriptor.version} is registered twice")
        self._functions[name] = function

    def find(self, type_: str, version: str) -> KernelFunction:
        """The function of this type and version; raises TypeUnknown with what there is."""
        found = self._functions.get((type_, version))
        if found is None:
            known = ", ".join(f"{name}/{version}" for name, version in sorted(self._functions))
            raise TypeUnknown(
                f"VNF type {type_[:80]}/{version[:80]} is unknown here; known: {known}"
            )
        return found

    def __iter__(self) -> Iterator[KernelFunction]:
        return iter(self._functions[name] for name in sorted(self._functions))

    def catalog_entries(self) -> tuple[CatalogEntry, ...]:
        """One catalog entry per function, sorted by type and version."""
        return tuple(function.descriptor.catalog_entry() for function in self)
