"""Run folders: what a config makes on disk, the search in it, and what later verbs read from it.

Free of torch: what trains is in `nas.runs.work`.
"""

from nas.runs.folder import Run, front_in, open_run
from nas.runs.problem import check_budget, costs_of, make_problem, make_space, reference_point

__all__ = ["Run", "check_budget", "costs_of", "front_in", "make_problem", "make_space", "open_run", "reference_point"]
