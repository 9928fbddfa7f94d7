"""Base of every part's config, and the number types configs share."""

from fractions import Fraction as _Ratio
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict


class Settings(BaseModel):
    """Frozen config of one part; unknown keys are errors, attribute docstrings are the help text."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


def _ratio(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return float(_Ratio(value.replace(" ", "")))
        except (ValueError, ZeroDivisionError):
            raise ValueError("write a number or a ratio such as 8/255") from None
    return value


Ratio = Annotated[float, BeforeValidator(_ratio)]
"""A float that may be written as a ratio, such as 8/255."""
