"""Verbs that are elsewhere now: their old names say where."""

from typing import Any

import typer.core

from nas.base.errors import UsageError

MOVED = {
    "audit": "nas evaluate --audit",
    "dashboard": "nas report RUN --dashboard",
    **{name: f"nas study {name}" for name in ("table", "curves", "insights", "agreement", "transfer", "replay")},
}
"""What took a verb's place."""

ORDER = (
    "init", "check", "search", "front", "show", "report", "compare", "retrain", "evaluate", "export", "bench", "sweep",
)  # fmt: skip
"""As the help lists the verbs: in the order of a day's work, then what else there is."""


class Verbs(typer.core.TyperGroup):
    """The verbs; an old name of one is an error that names the new one."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order of the help."""
        return [*ORDER, *(name for name in super().list_commands(ctx) if name not in ORDER)]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that `args` begin with."""
        if args and args[0] in MOVED:
            raise UsageError(f"nas {args[0]} is now {MOVED[args[0]]}")
        return super().resolve_command(ctx, args)
