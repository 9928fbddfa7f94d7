"""`nas study transfer`, about supernets, and verb `compare`, about what was made of them."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from nas.base.errors import UsageError
from nas.cli.options import Format, RunPath, app, err, out, print_json, study, write
from nas.cli.printing import print_common


@study.command(epilog="Example: nas study transfer runs/one_shot_digits --subnets 5 --png transfer.png")
def transfer(
    run: RunPath,
    subnets: Annotated[int, typer.Option(min=1, max=20, help="Members of the front, evenly spread over it.")] = 4,
    png: Annotated[Path | None, typer.Option(help="Draw the matrix.")] = None,
    format: Format = Format.TABLE,
) -> None:
    """Say how adversarial images of the supernet fool its subnets, and the other way round."""
    from nas.assets.supernet.keeping import has_supernet
    from nas.assets.supernet.weights import inherited
    from nas.attacks.transfer import Transfer
    from nas.base.seeding import make_generator
    from nas.data.datasets import load_search_data
    from nas.report.one_shot import transfer_png, transfer_table
    from nas.runs import open_run
    from nas.runs.work import supernet_of
    from nas.studies.transfer import transfer_matrix

    opened = open_run(run)
    if not has_supernet(run):
        raise UsageError(f"{run} has no supernet; search with --set search.evaluator=supernet")
    config, data = opened.config, load_search_data(opened.config.data)
    supernet = supernet_of(opened, data)
    front = sorted(opened.front().records, key=lambda record: record.costs.params)
    if not front:
        raise UsageError(f"the front of {run} is empty: there are no subnets to attack")
    count = min(subnets, len(front))
    chosen = [front[round(index * (len(front) - 1) / max(1, count - 1))] for index in range(count)]
    specs = {"supernet": supernet.largest, "smallest": opened.space.spec(opened.space.smallest())}
    known = {spec.key for spec in specs.values()}
    specs |= {f"trial {r.number} ({r.costs.params:,})": opened.space.spec(r.genotype) for r in chosen
              if r.genotype.key not in known}  # fmt: skip
    networks = {name: inherited(supernet, spec, data.train, config.training) for name, spec in specs.items()}
    attack = config.evaluation.attack
    with err.status("attacking …") as status:
        rows = transfer_matrix(
            networks, data.validation, config.threat, attack,
            lambda source: make_generator(config.search.seed, "transfer", source),
            lambda source: status.update(f"attacked {source} …"),
        )  # fmt: skip
    described = Transfer(networks["supernet"], attack).describe(config.threat)
    title = f"{run.name}: accuracy of the column on images made against the row"
    note = (
        f"{rows[0]['images']} validation images, {config.threat}, "
        f"{config.evaluation.attack.name}; on the diagonal the attack itself, white box; else {described['convention']}"
    )
    if png:
        write(png, transfer_png(rows, title, note))
    if format is Format.JSON:
        print_json({"run": str(run), "attack": described, "matrix": rows})
    elif format is Format.CSV:
        import pandas as pd

        sys.stdout.write(pd.DataFrame(rows).to_csv(index=False))
    else:
        out.print(transfer_table(rows, title))
        out.print(note, style="dim", soft_wrap=True)


@app.command(epilog="Example: nas compare runs/front_inherited runs/front_tuned runs/front_scratch")
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN …", help="Run folders; the first is the baseline.")],
    png: Annotated[
        Path | None, typer.Option(help="Draw robust accuracy by size, and by that in the first run.")
    ] = None,
    format: Format = Format.TABLE,
) -> None:
    """Compare the scores of the networks that several runs have in common."""
    from nas.pareto import absences
    from nas.report.evaluations import protocol_text
    from nas.report.one_shot import comparison_png, comparison_table
    from nas.runs import open_run
    from nas.studies import at_common_rung, check_same_images, comparison, in_common, mean_scores
    from nas.studies.comparison import USUAL

    if len(runs) < 2 or len(set(runs)) < len(runs):
        raise UsageError("compare needs two or more different runs")
    opened = {run.name if len({r.name for r in runs}) == len(runs) else str(run): open_run(run) for run in runs}
    check_same_images({name: one.folder for name, one in opened.items()})
    first = next(iter(opened.values()))
    objectives = first.config.parsed_objectives
    trained = in_common({name: one.records for name, one in opened.items()})
    needed = (*USUAL, *(objective.name for objective in objectives))
    common = at_common_rung([(one.trials_folder, trained[name]) for name, one in opened.items()], needed)
    records = dict(zip(opened, common.runs, strict=True))
    rows = comparison(records, objectives, first.reference_point(objectives))
    print_common(common, out if format is Format.TABLE else err)
    for text in absences([record for one in common.runs for record in one], objectives):
        err.print(text, soft_wrap=True, highlight=False)
    if png:
        protocol = protocol_text(common.evaluation)
        write(png, comparison_png(mean_scores(records), rows, "The same networks in several runs", protocol))
    if format is Format.JSON:
        print_json(rows)
    elif format is Format.CSV:
        import pandas as pd

        sys.stdout.write(pd.DataFrame(rows).to_csv(index=False))
    else:
        out.print(comparison_table(rows))
