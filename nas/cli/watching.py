"""Verb `report`: a run in the browser, as a page or in optuna-dashboard."""

import time
from pathlib import Path
from typing import Annotated

import typer

from nas.base.errors import NasError, UsageError
from nas.cli.options import RunPath, app, err, write


@app.command(epilog="Example: nas report runs/digits --baseline runs/digits_uniform --out digits.html")
def report(
    run: RunPath,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="The page; RUN/report.html where left out.")] = None,
    baseline: Annotated[
        Path | None, typer.Option(metavar="SWEEP", help="Compare with the networks of `nas sweep CONFIG --uniform`.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Write it anew as the search goes on, until Ctrl-C.")] = False,
    dashboard: Annotated[
        bool, typer.Option("--dashboard", help="Instead: serve the study in optuna-dashboard, read only, until Ctrl-C.")
    ] = False,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port of --dashboard on 127.0.0.1, 8080 where left out; 0: any free one."),
    ] = None,
) -> None:
    """Write one page about a run: front, trials, budgets, comparisons. It opens from disk, without a network."""
    if dashboard:
        if out or baseline or watch:
            raise UsageError("--dashboard writes no page: leave out --out, --baseline and --watch")
        return _dashboard(run, 8080 if port is None else port)
    if port is not None:
        raise UsageError(f"--port {port} is for --dashboard: a page needs no server")
    from nas.page import Asked, run_page
    from nas.runs import open_run

    path, refresh = out or run / "report.html", EVERY if watch else None
    other = open_run(baseline) if baseline else None
    if not watch:
        return write(path, run_page(open_run(run), Asked(baseline=other)).encode())
    err.print(f"writing {path} whenever a trial ends; Ctrl-C ends it", soft_wrap=True, highlight=False)
    known: tuple[int, int] | None = None
    while True:
        try:
            opened = open_run(run)
            found = len(opened.records), _finished(run)
            if found != known:
                write(path, run_page(opened, Asked(baseline=other, refresh=refresh)).encode())
                known = found
        except NasError:
            if known or not run.is_dir():  # a search that has just begun has no study yet
                raise
        except KeyboardInterrupt:
            break
        try:
            time.sleep(EVERY)
        except KeyboardInterrupt:
            break
    if known:
        write(path, run_page(open_run(run), Asked(baseline=other)).encode())


def _finished(run: Path) -> int:
    """Trainings from further seeds, and retrainings, that are over: the study does not count them."""
    return len([*run.glob("trials/*/seed_*/evaluation.json"), *run.glob("retrained/*/evaluation.json")])


EVERY = 10
"""Seconds between looks at a search that goes on, and between the page's own."""


def _dashboard(run: Path, port: int) -> None:
    """Shows the study of a run in optuna-dashboard, read only, on this machine only."""
    from nas.runs import open_run
    from nas.search.dashboard import serve_dashboard

    def ready(address: str) -> None:
        err.print(f"{address} (Ctrl-C ends it)", soft_wrap=True, highlight=False)

    serve_dashboard(open_run(run).study, port, ready)
