"""One self-contained HTML page of a run: what was searched, what was found, and the questions asked of a front.

`page_model` makes everything that is shown, as JSON-ready data, from the run's records and files; `write_page` puts it
into the page, whose scripts (assets/) only draw and filter. Numbers that the terminal also prints come from the same
functions.
"""

from nas.page.curves import curves_page
from nas.page.model import Asked, page_model
from nas.page.write import page_html, run_page

__all__ = ["Asked", "curves_page", "page_html", "page_model", "run_page"]
