"""What a set of trained networks says about width, expand ratio and robustness (Mousavi 2023's questions)."""

from nas.studies.baseline import versus
from nas.studies.common_rung import at_common_rung, check_same_images
from nas.studies.comparison import comparison, in_common, mean_scores
from nas.studies.composition import compositions
from nas.studies.curves import curve_rows
from nas.studies.groups import Group, groups_of
from nas.studies.insights import insights
from nas.studies.paper import table_rows

__all__ = [
    "Group",
    "at_common_rung",
    "check_same_images",
    "comparison",
    "compositions",
    "curve_rows",
    "groups_of",
    "in_common",
    "insights",
    "mean_scores",
    "table_rows",
    "versus",
]
