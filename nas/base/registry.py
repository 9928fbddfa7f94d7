"""Settings that are chosen by their `name` from a registry, which a user's own module may add to."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, SerializationInfo, TypeAdapter
from pydantic_core import CoreSchema, core_schema


class ChosenFrom:
    """Annotates a field that holds the settings of one entry of `registry`, named by their field `name`.

    What is annotated serves type checkers only: the registry is looked at when a value is validated, so that entries
    may be added until then. `what` names an entry in errors; `settings_of` gives an entry's settings class.
    """

    def __init__(
        self, registry: Mapping[str, Any], what: str, settings_of: Callable[[Any], Any] = lambda entry: entry
    ) -> None:
        self.registry, self.what, self.settings_of = registry, what, settings_of

    def __get_pydantic_core_schema__(self, annotated: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Schema of `_validated` and `_dumped`."""
        dumped = core_schema.plain_serializer_function_ser_schema(_dumped, info_arg=True)
        return core_schema.with_info_plain_validator_function(self._validated, serialization=dumped)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Settings of all entries, whose fields are what an error says is allowed."""
        return {"oneOf": [handler(self._adapter(name).core_schema) for name in self.registry]}

    def _adapter(self, name: str) -> TypeAdapter[Any]:
        return TypeAdapter(self.settings_of(self.registry[name]))

    def _validated(self, value: Any, info: core_schema.ValidationInfo) -> Any:
        """Settings that `value` is, or is a mapping of. Raises ValueError where its name is none of the registry's."""
        name = value.get("name") if isinstance(value, Mapping) else getattr(value, "name", None)
        if not isinstance(name, str) or name not in self.registry:
            problem = "needs a name" if name is None else f"unknown {self.what} {name!r}"
            raise ValueError(f"{problem} (allowed: {', '.join(self.registry)})")
        if info.mode == "json":  # strict about types, and here the value is no JSON any more
            return self._adapter(name).validate_json(json.dumps(value), strict=True)
        return self._adapter(name).validate_python(value)


def _dumped(value: Any, info: SerializationInfo) -> Any:
    """`value` as its own class writes it: a float 1 as 1.0."""
    mode: Literal["json", "python"] = "json" if info.mode_is_json() else "python"
    return TypeAdapter(type(value)).dump_python(value, mode=mode, context=info.context)
