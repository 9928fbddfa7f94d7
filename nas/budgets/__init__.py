"""What a network costs on the device, before it is trained, and the limits on it."""

from nas.budgets.blocks import BlockCosts, block_costs
from nas.budgets.budget import COSTS, Budget
from nas.budgets.costs import Deployment, count_costs
from nas.budgets.largest import over_budget_text

__all__ = ["COSTS", "BlockCosts", "Budget", "Deployment", "block_costs", "count_costs", "over_budget_text"]
