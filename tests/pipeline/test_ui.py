"""MLflow's own UI and a report, in a real browser, show a sweep as it is meant to be seen."""

import re
import shutil
import urllib.parse
from pathlib import Path

import pytest

from pipeline.report.page import sweep_page
from pipeline.tracking.connection import connect
from pipeline.tracking.reader import open_reader
from tests.pipeline.commands import run
from tests.pipeline.serving import tracking_server

QUIET = ("gpu", "quic", "background-networking", "component-update", "sync")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
SWEEP = ("-m", "engine=inprocess", "steps=200", "strategy=random,gradient", "learning_rate=1e-3,1e-2")

A4_LANDSCAPE = {"width": 1047, "height": 718}  # pixels of 1/96 inch, without margins of 1 cm

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="chromium is not installed (Debian: apt-get install chromium)"),
    # What Playwright leaves behind when its event loop ends is no error of this project's.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory, empty_store):
    """Run a sweep; return its record and the link that it printed."""
    folder = tmp_path_factory.mktemp("ui")
    shutil.copy(empty_store, folder)
    done = run(["-m", "pipeline", *SWEEP], folder, FIGURES="1")
    link = done.stdout.splitlines()[-1]
    uri = f"sqlite:///{folder}/mlflow.db"
    client = connect(uri, create=False)
    (parent,) = client.search_runs(["1"], "tags.`winner.run_id` != ''")
    return open_reader(uri).sweep(parent.info.run_id), uri, link


@pytest.fixture(scope="module")
def repeated(sweep):
    """Run a sweep with repeats beside it; return its link."""
    folder = Path(urllib.parse.urlsplit(sweep[1]).path)
    options = ("engine=inprocess", "steps=100", "learning_rate=1e-3,1e-2", "sweep.repeats=3")
    done = run(["-m", "pipeline", "-m", *options, "tracking.register_model=false"], folder.parent)
    return done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def page(sweep, tmp_path_factory):
    """Open a browser beside the UI's server; return its page and the server's address."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (the extra dev)")
    folder = tmp_path_factory.mktemp("server")
    with tracking_server(folder, sweep[1], name="ui") as port, playwright.sync_playwright() as running:
        flags = ["--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in QUIET)]
        browser = running.chromium.launch(executable_path=BROWSER, args=flags)
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        page.set_default_timeout(60_000)
        yield page, f"http://127.0.0.1:{port}"
        browser.close()


@pytest.fixture
def browse(page, tmp_path, request):
    """Return what opens an address in a page without a past, and at the end a picture of it is taken."""
    tab, server = page

    def go(address):
        tab.goto("about:blank")
        tab.goto(server + "/" + address)
        return tab

    yield go
    tab.screenshot(path=tmp_path / f"{request.node.name}.png")


def of_run(run_id, where=""):
    return f"#/experiments/1/runs/{run_id}{where}?workflowType=machine_learning"


def test_the_printed_link_opens_the_sweeps_charts_in_the_layout_for_training(sweep, browse):
    record, _, link = sweep

    page = browse(link[link.index("#") :])

    page.get_by_text(record.runs[0].trial, exact=True).first.wait_for()
    for section in ("train", "val"):
        page.get_by_text(re.compile(rf"^{section}\s*\(\d+\)")).first.wait_for()
    page.locator(".js-plotly-plot").first.wait_for()
    page.get_by_text(f"{len(record.runs)} matching runs").first.wait_for()
    text = page.inner_text("body")
    # The tabs of the layout for language models are not those of this one.
    assert "Evaluation" not in text
    assert record.name not in text  # the parent is not one of its trials


def test_the_table_is_sorted_by_accuracy_and_shows_what_was_swept(sweep, browse):
    record, _, link = sweep

    page = browse(link[link.index("#") :].replace("&compareRunsMode=CHART", ""))

    for column in ("val/accuracy", "test/accuracy", "train/loss", "learning_rate", "strategy"):
        page.get_by_test_id(f"sort-header-{column}").wait_for()
    page.get_by_text(record.runs[-1].trial, exact=True).first.wait_for()
    cells = page.locator("[role=gridcell][col-id='$$$metric$$$-val/accuracy'], [col-id*='val/accuracy'][role=gridcell]")
    cells.nth(len(record.runs) - 1).wait_for()
    shown = [float(text.rstrip("…").rstrip(".")) for text in cells.all_inner_texts() if text]
    assert len(shown) == len(record.runs)
    assert shown == pytest.approx([run.metrics["val/accuracy"] for run in record.runs])
    assert shown == sorted(shown, reverse=True)


def test_repeats_are_grouped_by_setting_in_the_charts_and_in_the_table(repeated, browse):
    link = repeated[repeated.index("#") :]

    page = browse(link)
    page.get_by_text("Group by: setting").first.wait_for()
    page.get_by_text("Group: gradient lr=0.01").first.wait_for()
    page.locator(".js-plotly-plot .fills path, .js-plotly-plot .scatterlayer .trace").first.wait_for(state="attached")
    legend = page.locator("text=gradient lr=0.01 (").first
    legend.wait_for()

    page = browse(link.replace("&compareRunsMode=CHART", ""))
    page.get_by_text("Group: gradient lr=0.001").first.wait_for()
    page.get_by_text("6 matching runs").first.wait_for()


def test_the_sweep_of_repeats_has_metrics_and_params_of_its_own(repeated, browse):
    page = browse(of_run(repeated.rpartition("=")[2]))

    page.get_by_text("best/val/accuracy/low", exact=True).first.wait_for()
    page.get_by_text("swept.learning_rate", exact=True).first.wait_for()
    assert "No metrics recorded" not in page.inner_text("body")


def test_the_trials_are_nested_under_their_sweep(sweep, browse):
    record, _, _ = sweep

    page = browse("#/experiments/1/runs?workflowType=machine_learning")

    page.get_by_text(record.name, exact=True).first.wait_for()
    expander = page.get_by_role("row").filter(has_text=record.name).get_by_role("button").first
    expander.wait_for()


def test_the_sweeps_page_holds_its_description_and_links(sweep, browse):
    record, _, _ = sweep

    page = browse(of_run(record.run_id))
    page.get_by_text(f"finished, {len(record.runs)} of {len(record.runs)} trials done").first.wait_for()
    page.get_by_text("Show more").first.click()

    page.get_by_text("Run again:").first.wait_for()
    link = page.get_by_role("link", name=record.runs[0].trial).first.get_attribute("href")
    assert link.endswith(f"/runs/{record.runs[0].run_id}")
    page = browse(link[link.index("#") :])
    page.get_by_role("heading", name=record.runs[0].trial).wait_for()


def test_a_figure_of_the_sweep_is_shown(sweep, browse):
    record, _, _ = sweep

    page = browse(of_run(record.run_id, "/artifacts/figures/accuracy.png"))

    page.get_by_text("parallel_coordinates.png").first.wait_for()
    image = page.locator("img[src^='blob:'], img[src*='accuracy.png']").first
    image.wait_for()
    page.wait_for_function("image => image.naturalWidth === 900", arg=image.element_handle())


def test_a_trial_shows_its_loss_curve(sweep, browse):
    record, _, _ = sweep

    page = browse(of_run(record.runs[0].run_id, "/model-metrics"))

    page.get_by_text(re.compile(r"^train\s*\(\d+\)")).first.wait_for()
    # A point every 10 of the 200 steps; the page draws a curve before it has all of its points.
    page.wait_for_function(
        "() => [...document.querySelectorAll('.js-plotly-plot .trace path.js-line')]"
        ".some(path => path.getAttribute('d').split('L').length >= 20)"
    )


def test_a_report_is_printed_whole(sweep, repeated, page, tmp_path):
    # with a table of settings, which is three times as wide as a page
    report = tmp_path / "report.html"
    report.write_text(sweep_page(open_reader(sweep[1]).sweep(repeated.rpartition("=")[2])))

    with page[0].context.browser.new_page(viewport=A4_LANDSCAPE) as paper:
        paper.emulate_media(media="print")
        paper.goto(report.as_uri())
        widths = paper.evaluate("[...document.querySelectorAll('.wide')].map(table => table.scrollWidth)")

    assert len(widths) >= 3
    assert max(widths) <= A4_LANDSCAPE["width"]
