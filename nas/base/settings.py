"""Base of every part's config, and the number types configs share."""

import math
import re
from fractions import Fraction
from functools import partial
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, SerializationInfo


class Settings(BaseModel):
    """Frozen config of one part; unknown keys are errors, attribute docstrings are the help text."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


_NUMBER = re.compile(r"([-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?)(?:/(\d+))?")
_UNITS = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9}
_BYTES = {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def amount(text: str, *, in_bytes: bool = False) -> Fraction:
    """Value of a number, a ratio (8/255), or a number with a unit: 100k, 8M; `in_bytes` also 64KB (64,000), 64 KiB.

    Raises ValueError for anything else.
    """
    compact = text.replace(" ", "")
    units = _UNITS | _BYTES if in_bytes else _UNITS
    unit = max((unit for unit in units if compact.endswith(unit)), key=len)
    match = _NUMBER.fullmatch(compact.removesuffix(unit))
    if match is None or (match[2] and int(match[2]) == 0):
        raise ValueError(f"write a number, such as 100000, 100k, 8M{', 64KB, 64 KiB' if in_bytes else ''}")
    return Fraction(match[1]) / int(match[2] or 1) * units[unit]


def nearest(value: Fraction) -> float:
    """Float nearest to `value`; infinite beyond them."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def ratio_text(value: float) -> str:
    """`value` as people write it: in at most four digits, as steps of a pixel (8/255) or another ratio, if it is one.

    Else rounded to four digits.
    """
    if not math.isfinite(value):
        return f"{value:g}"
    rounded, steps, ratio = f"{value:.4g}", f"{value * 255:.4g}", str(Fraction(value).limit_denominator(255))
    written = (rounded, *((f"{steps}/255",) if abs(value) <= 64 / 255 else ()), ratio)
    return next((text for text in written if abs(float(amount(text)) - value) <= 1e-12 * abs(value)), rounded)


def _ratio(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return nearest(amount(value))
        except ValueError:
            raise ValueError("write a number or a ratio such as 8/255") from None
    return value


def _written(value: float, info: SerializationInfo) -> float | str:
    """A ratio as it was written where a config is dumped for people (`AS_WRITTEN`); for machines it is a number."""
    text = ratio_text(value)
    return text if info.context is AS_WRITTEN and "/" in text and float(amount(text)) == value else value


def _whole(value: Any, in_bytes: bool) -> Any:
    if not isinstance(value, str):
        return value
    found = amount(value, in_bytes=in_bytes)
    if math.isinf(nearest(found)):
        raise ValueError("the number is too large")
    if found.denominator != 1:
        raise ValueError("must be a whole number")
    return int(found)


AS_WRITTEN = {"ratios": "as written"}
"""Context of `model_dump` for a config that people read."""

Ratio = Annotated[float, BeforeValidator(_ratio), PlainSerializer(_written, when_used="json")]
"""A float that may be written as a ratio, such as 8/255."""

Count = Annotated[int, BeforeValidator(partial(_whole, in_bytes=False))]
"""A whole number that may be written as 100k or 8M."""

Bytes = Annotated[int, BeforeValidator(partial(_whole, in_bytes=True))]
"""Bytes that may be written as 64KB (64,000) or 64 KiB (65,536)."""
