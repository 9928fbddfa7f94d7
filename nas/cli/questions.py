"""The two questions asked of a front: what more of a budget buys, and whether A is really better than B."""

import sys
from typing import TYPE_CHECKING

from nas.cli.options import Format, PlainFormat, err, out, print_json

if TYPE_CHECKING:
    from nas.base.records import TrialRecord
    from nas.pareto import ParetoFront
    from nas.runs import Run


def print_what_if(run: "Run", front: "ParetoFront", cost: str, format: Format) -> None:
    """Prints the best members of `front` at every budget of `cost`, and what each step gains."""
    from nas.report.questions import what_if_tables
    from nas.report.tables import genotype_text
    from nas.studies.what_if import what_if

    facts = what_if(run, front, cost)
    if format is Format.JSON:
        return print_json(facts)
    if format is Format.CSV:
        import pandas as pd

        rows = [{"cost": cost, **step, "genotype": genotype_text(step["genotype"])} for step in facts["steps"]]
        sys.stdout.write(pd.DataFrame(rows).to_csv(index=False))
    else:
        if not facts["steps"]:
            out.print("the front is empty: nothing to choose from")
        for table in what_if_tables(facts):
            out.print(table)
    console = out if format is Format.TABLE else err
    for text in (*facts["compared_under"], *facts["notes"]):
        console.print(text, style="dim", soft_wrap=True, highlight=False)


def print_two(run: "Run", front: "ParetoFront", a: "TrialRecord", b: "TrialRecord", format: PlainFormat) -> None:
    """Prints the differences of two trials, and what can be said of them."""
    from nas.report.questions import genotype_lines, two_table
    from nas.studies.two import two_trials

    facts = two_trials(run, front, a, b)
    if format is PlainFormat.JSON:
        return print_json(facts)
    for line in genotype_lines(facts):
        out.print(line, highlight=False)
    out.print(two_table(facts))
    for text in facts["words"]:
        out.print(text, soft_wrap=True, highlight=False)
    for text in (*facts["compared_under"], *facts["notes"]):
        out.print(text, style="dim", soft_wrap=True, highlight=False)
