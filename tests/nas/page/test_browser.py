"""The page in a real browser: no error, linked views, and the numbers of the model."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nas.base.files import write_json
from nas.base.records import to_json
from nas.page import curves_page, run_page
from nas.runs import open_run
from tests.browser import CHROMIUM, Page, browser
from tests.builders import evaluation
from tests.made_run import made_run
from tests.nas.page.test_write import HOSTILE, data_of, hostile_run

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: apt-get install chromium)")
SHOWN = "passing.filter(p => p === 2).length"


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browser() as opened:
        yield opened


def written(folder: Path, trials: int) -> tuple[Path, Any]:
    text = run_page(open_run(made_run(folder / "made", trials)))
    path = folder / "page.html"
    path.write_text(text, encoding="utf-8")
    return path, data_of(text)


def put(page: Page, element: str, value: str, event: str = "change") -> None:
    """Gives a field a value, as a person does."""
    change = f"e.value = {value!r}; e.dispatchEvent(new Event({event!r}));"
    page.js(f"(e => {{ {change} }})(document.getElementById({element!r}))")
    page.frame()


def frame_of(page: Page, selector: str) -> tuple[float, float, float, float]:
    """Left, top, width and height of an element in the window."""
    x, y, width, height = page.js(
        f"(r => [r.x, r.y, r.width, r.height])(document.querySelector({selector!r}).getBoundingClientRect())"
    )
    return x, y, width, height


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    return written(tmp_path_factory.mktemp("small"), 40)


@pytest.fixture(autouse=True)
def _quiet(page: Page) -> Iterator[None]:
    page.errors.clear()
    page.requests.clear()
    yield
    assert page.errors == []
    assert [url for url in page.requests if not url.startswith(("file:", "about:"))] == []


def test_every_part_is_drawn(page: Page, small: tuple[Path, Any]) -> None:
    path, model = small
    page.open(path)
    assert page.js("document.querySelectorAll('#scatter .mark.front').length") == len(model["pairs"]["trials"])
    parts = "#parallel canvas, #table tbody tr, #drawn svg.drawing, #budget-body svg, #compare-body tbody tr"
    for part in f"{parts}, #progress-body svg, #choices-body svg, #method-body li".split(", "):
        assert page.js(f"document.querySelectorAll({part!r}).length") > 0, part
    for failed in ("could not be drawn", "[object", "undefined", "NaN"):
        assert page.js(f"document.body.innerText.includes({failed!r})") is False, failed
    command = page.js("document.querySelector('#detail code').textContent")
    assert command == f"{model['command']['retrain']}{model['knee']}"


def test_a_range_on_one_axis_filters_all_views(page: Page, small: tuple[Path, Any]) -> None:
    path, model = small
    page.open(path)
    low, high = sorted(model["trials"]["values"]["params"])[10:21:10]
    inside = [
        n
        for n, v in zip(model["trials"]["number"], model["trials"]["values"]["params"], strict=True)
        if low <= v <= high
    ]
    page.js(f"setRange('params', [{low}, {high}])")
    page.frame()
    assert page.js(SHOWN) == len(inside) == 11
    assert page.js("document.querySelector('#table .foot').textContent").count(f"of {len(inside)} trials") == 1
    rows = page.js("[...document.querySelectorAll('#table tr.row')].map(row => Number(row.dataset.trial))")
    assert set(rows) == set(inside)
    faded = page.js("[...document.querySelectorAll('#scatter .mark.faded')].map(mark => Number(mark.dataset.trial))")
    drawn = page.js("[...document.querySelectorAll('#scatter [data-trial]')].map(mark => Number(mark.dataset.trial))")
    assert set(drawn) - set(faded) == set(inside) & set(drawn)
    assert f"{len(inside)} of 40 trials shown" in page.js("document.querySelector('#chips').textContent")
    page.js("change({ranges: {}})")
    page.frame()
    assert page.js(SHOWN) == 40


def test_dragging_over_the_scatter_and_along_an_axis_filters(page: Page, small: tuple[Path, Any]) -> None:
    path, _ = small
    page.open(path, height=2400)
    x, y, width, height = frame_of(page, "#scatter svg")
    page.drag((x + 0.2 * width, y + 0.1 * height), (x + 0.6 * width, y + 0.8 * height))
    assert page.js("Object.keys(state.ranges).sort()") == sorted(page.js("[state.x, state.y]"))
    some = page.js(SHOWN)
    assert 0 < some < 40
    page.js("change({ranges: {}})")
    page.frame()
    x, y, width, height = frame_of(page, "#parallel [data-axis=params]")
    page.drag((x + width / 2, y + 0.5 * height), (x + width / 2, y + 0.95 * height))
    assert page.js("Object.keys(state.ranges)") == ["params"]
    assert 0 < page.js(SHOWN) < 40


def test_switches_show_the_front_or_what_is_within_the_limits(page: Page, small: tuple[Path, Any]) -> None:
    path, model = small
    page.open(path)
    groups = model["trials"]["group"]
    for key, count in (
        ("frontOnly", groups.count("front")),
        ("feasibleOnly", groups.count("front") + groups.count("dominated")),
    ):
        page.js(f"document.getElementById('only-{key}').click()")
        page.frame()
        assert page.js(SHOWN) == count
        page.js(f"document.getElementById('only-{key}').click()")
        page.frame()


def test_any_two_columns_can_be_chosen_and_a_trial_is_found_by_the_keyboard(
    page: Page, small: tuple[Path, Any]
) -> None:
    path, model = small
    page.open(path)
    for name in [column["name"] for column in model["columns"]]:
        put(page, "choose-x", name)
        page.frame()
        assert page.js("state.x") == name
    page.js("document.querySelector('#scatter svg').focus()")
    before = page.js("state.selected")
    page.press("ArrowRight")
    assert page.js("state.selected") != before
    chosen = page.js("trials.number[state.selected]")
    assert page.js("document.querySelector('#detail h2').textContent").startswith(f"Trial {chosen}")
    assert f"trial {chosen}" in page.js("document.getElementById('said').textContent")


def test_the_slider_gives_the_best_within_the_budget_and_what_more_buys(page: Page, small: tuple[Path, Any]) -> None:
    path, model = small
    page.open(path)
    (budget,) = (b for b in model["budgets"] if (b["cost"], b["score"]) == ("params", "robust_accuracy"))
    shown = "(key) => document.querySelector('#budget-body .' + key).dataset.trial"
    for limit in [6000, 9000, 12_000, 20_000, 33_000, 59_000]:
        put(page, "budget-field", str(limit))
        for key, most in (("now", limit), ("then", limit * budget["more"])):
            expected = [number for start, number in budget["steps"] if start <= most]
            assert page.js(f"({shown})({key!r})") == (str(expected[-1]) if expected else "")
    put(page, "budget-slider", "700", "input")
    limit = float(page.js("document.getElementById('budget-field').value").replace(",", ""))
    assert page.js(f"({shown})('now')") == str([n for start, n in budget["steps"] if start <= limit][-1])
    assert page.js("[amount('20k'), amount('8M'), amount('64 KiB'), amount('64KB')]") == [20e3, 8e6, 65536, 64e3]


def test_a_against_b_gives_the_paired_differences(page: Page, small: tuple[Path, Any]) -> None:
    from nas.runs import Run
    from nas.studies.pairs import paired

    path, model = small
    page.open(path)
    run: Run = open_run(path.parent / "made")
    pairs = paired(
        run,
        sorted(run.front().records, key=lambda r: model["pairs"]["trials"].index(r.number)),
        run.config.parsed_objectives,
    )
    words = {"better": "A", "worse": "B", "tied": "not told apart", "unknown": "no interval can be given"}
    for a, b in ((pairs.numbers[0], pairs.numbers[1]), (pairs.numbers[4], pairs.numbers[2])):
        page.js(f"change({{a: placeOf.get({a}), b: placeOf.get({b})}})")
        page.frame()
        for one in pairs.between(a, b):
            row = f"document.querySelector('#compare-body tr[data-measure={one.measure.name}]')"
            cells = page.js(f"[...{row}.cells].map(cell => ({{...cell.dataset, text: cell.textContent}}))")
            assert float(cells[3]["value"]) == pytest.approx(one.value, rel=1e-6, abs=1e-9)
            if one.low is not None and not one.measure.is_static:
                assert float(cells[4]["low"]) == pytest.approx(one.low, rel=1e-5, abs=1e-7)
                assert float(cells[4]["high"]) == pytest.approx(one.high, rel=1e-5, abs=1e-7)
            assert cells[5]["text"] == words.get(one.verdict, cells[5]["text"])


def test_a_hostile_run_runs_nothing(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "hostile.html"
    path.write_text(run_page(open_run(hostile_run(tmp_path / "hostile"))), encoding="utf-8")
    page.open(path)
    page.js("select(placeOf.get(1))")
    page.frame()
    assert page.js("typeof window.hacked") == "undefined"
    assert page.js("document.querySelectorAll('img').length") == 0
    assert HOSTILE.strip() in page.js("document.querySelector('#detail pre').textContent")
    assert page.js("document.getElementById('method-body').textContent.includes('window.hacked=1')")


def test_a_thousand_trials_are_interactive_within_two_seconds(page: Page, tmp_path: Path) -> None:
    path, _ = written(tmp_path, 1000)
    assert page.open(path) < 2
    slowest = page.js("""(async () => {
      const frame = () => new Promise(done => requestAnimationFrame(() => setTimeout(done)));
      let slowest = 0;
      for (let k = 1; k <= 10; k += 1) {
        const began = performance.now();
        setRange('params', [0, 6000 * k]);
        await frame();
        slowest = Math.max(slowest, performance.now() - began);
      }
      return slowest;
    })()""")
    assert slowest < 400


def test_the_page_of_curves_is_drawn_and_lets_networks_be_left_out(page: Page, tmp_path: Path) -> None:
    rows = [{"network": name, "epoch": epoch, "robust_accuracy": 0.1 * epoch + 0.01 * seed}
            for name in ("W = 1", HOSTILE) for seed in (0, 1) for epoch in (1, 2, 3)]  # fmt: skip
    path = tmp_path / "curves.html"
    path.write_text(curves_page(rows, [("robust_accuracy", "robust accuracy")], "made", HOSTILE), encoding="utf-8")
    page.open(path)
    assert page.js("document.querySelectorAll('#panels svg.lines path:not(.band)').length") == 2
    page.js("document.querySelector('#legend input').click()")
    page.frame()
    assert page.js("document.querySelectorAll('#panels svg.lines path:not(.band)').length") == 1
    assert page.js("typeof window.hacked") == "undefined"


def test_retrained_networks_are_a_table_with_the_command_that_exports_them(page: Page, tmp_path: Path) -> None:
    folder = made_run(tmp_path / "made", 12)
    for name, robust in (("00003", 0.25), ("00003-longer", 0.5)):
        (folder / "retrained" / name).mkdir(parents=True)
        write_json(folder / "retrained" / name / "evaluation.json", to_json(evaluation(robust=robust)))
    path = tmp_path / "page.html"
    path.write_text(run_page(open_run(folder)), encoding="utf-8")
    page.open(path)
    rows = page.js("[...document.querySelectorAll('#retrained tbody tr')].map(r => r.innerText)")
    assert [row.split()[0] for row in rows] == ["3", "3-longer"]
    assert "25.0 %" in rows[0]
    assert "50.0 %" in rows[1]
    command = page.js("document.querySelector('#retrained code').textContent")
    assert command == f"nas export --front {folder} --format tflite"
    assert "the best of several looks better than it is" in page.js("document.querySelector('#retrained').innerText")


def test_a_phone_shows_the_whole_comparison_and_a_drawing_that_can_be_read(page: Page, small: tuple[Path, Any]) -> None:
    page.open(small[0], width=390)
    table = "document.querySelector('#compare-body .scroll')"
    assert page.js(f"{table}.scrollWidth <= {table}.clientWidth")
    assert frame_of(page, "svg.drawing")[2] >= 500


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_is_wider_than_the_window(page: Page, small: tuple[Path, Any], width: int) -> None:
    page.open(small[0], width=width, dark=width == 768)
    assert page.js("document.documentElement.scrollWidth") <= width
    assert page.js("document.documentElement.dataset.theme") == ("dark" if width == 768 else "light")
