"""Verb to watch a run in the browser: dashboard."""

from typing import Annotated

import typer

from nas.cli.options import RunPath, app, err


@app.command(epilog="Example: nas dashboard runs/digits --port 8080")
def dashboard(
    run: RunPath,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0: any free one.")] = 8080,
) -> None:
    """Show the study of a run in optuna-dashboard, read only, on this machine only."""
    from nas.runs import open_run
    from nas.search.dashboard import serve_dashboard

    def ready(address: str) -> None:
        err.print(f"{address} (Ctrl-C ends it)", soft_wrap=True, highlight=False)

    serve_dashboard(open_run(run).study, port, ready)
