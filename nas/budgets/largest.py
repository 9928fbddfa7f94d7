"""Why even the smallest network is over a budget, and which part of it to make smaller."""

from nas.base.records import Costs
from nas.budgets.budget import Budget
from nas.budgets.costs import Deployment, walk
from search_spaces import NetworkSpec


def over_budget_text(spec: NetworkSpec, costs: Costs, budget: Budget) -> str:
    """What the network of `spec` with these `costs` has too much of, its largest part, what to try; "" if it fits."""
    overrun = {name: value for name, value in budget.overrun(costs).items() if value > 0}
    if not overrun:
        return ""
    parts = [f"{name} {getattr(costs, name):,} (limit {getattr(budget, name):,})" for name in overrun]
    part, field = largest_part(spec, max(overrun, key=overrun.__getitem__))
    return f"{', '.join(parts)}: {part}; try smaller {field}, other smaller options of the space, or a larger budget"


def largest_part(spec: NetworkSpec, cost: str) -> tuple[str, str]:
    """Part of the network of `spec` with most of `cost` (one of COSTS), in words, and the field that shrinks it."""
    features, classes, convs = spec.blocks[-1].out_channels, spec.num_classes, walk(spec, Deployment())
    # Of each part: its name, the field, its parameters, its MACs, the values in memory while it runs.
    classifier = f"the classifier behind the head alone holds {features:,} × {classes} weights"
    parts = [(classifier, "space.head_channels", (features + 1) * classes, features * classes, features)]
    for block in spec.blocks:
        layers = [next(convs) for _ in block.convolutions]
        params = sum(layer.conv.num_weights + 2 * layer.conv.out_channels for layer in layers)
        macs = sum(layer.conv.num_weights // layer.conv.out_channels * layer.outputs for layer in layers)
        peak = max(layer.inputs + layer.outputs + layer.held for layer in layers)
        if block.row == 0:
            name, field = "the stem", "space.stem_channels"
        elif block.row == spec.blocks[-1].row:
            name, field = f"the head ({block.in_channels:,} × {block.out_channels:,})", "space.head_channels"
        else:
            name, field = f"a block of row {block.row}", f"channels and width multipliers of row {block.row}"
        parts.append((name, field, params, macs, peak))
    column, unit = {"macs": (3, "MACs"), "peak_activation_bytes": (4, "values")}.get(cost, (2, "parameters"))
    name, field, *_ = largest = max(parts, key=lambda part: part[column])
    return (name if name == classifier else f"{name} alone holds {largest[column]:,} {unit}"), field
