"""Settings that are chosen by their `name` from a registry, which a user's own module may add to."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny

from nas.base.settings import Settings


def chosen_from(registry: Mapping[str, type[Settings]], what: str) -> Any:
    """Type of a pydantic field that holds the settings of one entry of `registry`, named by their field `name`.

    The registry is looked at when a value is validated: entries may be added until then. `what` names an entry in
    errors.
    """

    def chosen(value: Any) -> Any:
        if isinstance(value, Settings):
            return value
        name = value.get("name") if isinstance(value, Mapping) else None
        if not isinstance(name, str) or name not in registry:
            raise ValueError(f"unknown {what} {name!r} (allowed: {', '.join(registry)})")
        return registry[name].model_validate(value)

    return Annotated[SerializeAsAny[Settings], BeforeValidator(chosen)]
