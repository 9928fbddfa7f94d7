"""What a set of trained networks says about width, expand ratio and robustness (Mousavi 2023's questions)."""

from nas.study.common_rung import at_common_rung, check_same_images
from nas.study.comparison import comparison, in_common, mean_scores
from nas.study.composition import compositions
from nas.study.curves import curve_rows
from nas.study.groups import Group, groups_of
from nas.study.insights import insights
from nas.study.paper import table_rows

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
]
