"""The page in a real browser: every view, by mouse and by keyboard, on a phone and in the dark; nothing leaves it.

`pip install playwright`, and a Chromium; where either is missing, these tests are skipped.
"""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from npsoftmax.functional.softmax import softmax_forward
from npsoftmax.look.server import LookServer

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
VIEWS = ("network", "head", "gradient", "run", "compare")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium"),
]


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def server(answers):
    with LookServer(answers["convnet"]) as started:
        yield started


def said_wrong(message, errors):
    if message.type == "error" and "status of 422" not in message.text:  # a refusal, which the page says itself
        errors.append(message.text)


@pytest.fixture
def page(browser, server):
    """The open page; it must not have said an error, nor asked anybody else, when the test ends."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    opened, errors, elsewhere = context.new_page(), [], []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda message: said_wrong(message, errors))
    opened.on(
        "request",
        lambda r: (
            None if r.url.startswith((f"http://127.0.0.1:{server.server_port}/", "data:")) else elsewhere.append(r.url)
        ),
    )
    opened.goto(server.address)
    opened.wait_for_selector(".maps canvas")
    yield opened
    context.close()
    assert not errors and not elsewhere


def view(page, name):
    page.click(f"#tab-{name}")
    page.wait_for_selector(f"#{name}:visible")


def no_wider(page):
    return page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_every_view_opens_and_fits(page, width, scheme):
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    for name, sign in (
        ("network", ".value"),
        ("head", "[data-head]"),
        ("gradient", ".layer"),
        ("run", "polyline"),
        ("compare", ".card"),
    ):
        view(page, name)
        page.wait_for_selector(f"#{name} {sign}")
        assert no_wider(page), name
    assert page.is_hidden("#error")


def test_a_dragged_logit_changes_p_as_the_library_says(page):
    view(page, "head")
    page.wait_for_selector("[data-mapping=softmax]")
    z = np.array([2, 1, 0.5, 0, -1, -2])
    for value in (3.5, -4.0):
        z[2] = value
        page.locator("#head input[type=range]").nth(2).fill(str(value))
        expected = softmax_forward(z[None])[0][0]
        drawn = page.locator("[data-mapping=softmax]")
        for _ in range(200):  # what is asked while the slider moves is answered in turn
            if json.loads(drawn.get_attribute("data-p"))[2] == pytest.approx(expected[2], abs=1e-9):
                break
            page.wait_for_timeout(50)
        shown = json.loads(page.get_attribute("[data-mapping=softmax]", "data-p"))
        np.testing.assert_allclose(shown, expected, atol=1e-6)
        loss = float(page.get_attribute("[data-head=softmax]", "data-loss"))
        assert loss == pytest.approx(-np.log(expected[0]), abs=1e-6)


def test_a_unit_under_the_mouse_and_by_keyboard(page, answers):
    big = page.locator("#network .big")
    big.hover(position={"x": 5, "y": 5})
    page.wait_for_selector("text=unit [0,0,0]")
    big.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.wait_for_selector("text=unit [1,1,0]")
    unit = answers["convnet"].ask("unit", {"image": 0, "path": "conv1", "place": [1, 1, 0]})
    shown = float(page.inner_text("#network .value"))
    assert shown == pytest.approx(unit["value"], rel=1e-3)


def test_tabs_by_keyboard(page):
    page.focus("#tab-network")
    for name in VIEWS[1:]:
        page.keyboard.press("ArrowRight")
        assert page.is_visible(f"#{name}") and page.evaluate("document.activeElement.id") == f"tab-{name}"


def test_a_number_of_a_gradient_at_a_click(page):
    view(page, "gradient")
    page.wait_for_selector("#gradient .thumb")
    page.locator("#gradient .thumb canvas").first.click(position={"x": 10, "y": 10})
    table = page.wait_for_selector("#gradient table")
    analytic, numeric = (float(table.get_attribute(f"data-{name}")) for name in ("analytic", "numeric"))
    assert numeric == pytest.approx(analytic, rel=1e-4, abs=1e-8)


def test_a_cell_of_the_confusions_shows_images(page, answers):
    view(page, "run")
    page.locator("#run button.small").first.click()
    page.wait_for_selector("#run .side .thumb")
    said = page.inner_text("#run .side h2")
    assert page.locator("#run .side .thumb").count() == int(said.rpartition(":")[2])
    last = page.locator("#run .side .thumb").last
    number = last.get_attribute("title").partition(":")[0]
    last.click()
    sync_api.expect(page.locator("#number")).to_have_value(number)


def test_images_are_chosen_and_ones_own_is_taken(page, tmp_path):
    image = pytest.importorskip("PIL.Image")
    page.click("#after")
    sync_api.expect(page.locator("#number")).to_have_value("1")
    page.click("#browse")
    page.wait_for_selector("#gallery .thumb")
    image.new("RGB", (20, 20), "white").save(tmp_path / "own.png")
    page.set_input_files("#file", tmp_path / "own.png")
    page.wait_for_selector("text=an image of your own")


def test_what_the_server_refuses_is_said(page, tmp_path):
    (tmp_path / "no.png").write_text("nothing")
    with page.expect_response("**/api/upload*") as answer:
        page.set_input_files("#file", tmp_path / "no.png")
    assert answer.value.status == 422
    page.wait_for_selector("#error:visible")
    assert "cannot be read as an image" in page.inner_text("#error")
