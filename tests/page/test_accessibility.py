"""Axe, which holds a page against the rules of accessibility (WCAG 2.2 and good practice), finds
nothing: in every state of the page, by day and by night, on a desk and on a phone."""

import pytest

from tests.page.events import ARABIC, CALL
from tests.page.stand_in import Answers, serving

LOOKS = {"light": "desk", "dark": "phone"}


@pytest.fixture(scope="module")
def server():
    answers = Answers()
    with serving(answers) as url:
        yield answers, url


@pytest.fixture(params=LOOKS)
def page(browser, server, request):
    getattr(browser, LOOKS[request.param])()
    browser.media(prefers_color_scheme=request.param, prefers_reduced_motion="reduce")
    server[0].__init__(events=ARABIC)
    browser.open(server[1])
    return browser


def found_by(axe, page):
    """What axe finds, a line each; what it cannot tell by itself as well, but for texts on a ground
    that is no plain colour."""
    page.run(axe)
    report = page.driver.execute_async_script(
        "const done = arguments[arguments.length - 1];"
        "axe.run(document, {resultTypes: ['violations', 'incomplete']}).then(done)"
    )
    assert len(report["passes"]) > 10, "axe did not look"
    unsure = [one for one in report["incomplete"] if one["id"] != "color-contrast"]
    return [
        f"{one['id']}: {node['html']} {node['failureSummary']}"
        for one in (*report["violations"], *unsure)
        for node in one["nodes"]
    ]


def test_axe_finds_what_is_wrong(axe, page):
    """So that finding nothing says something."""
    page.run("document.body.append(document.createElement('button'))")
    page.run("document.getElementById('server').style.color = 'rgb(128 128 128 / 40%)'")
    found = " ".join(found_by(axe, page))
    assert "button-name" in found and "color-contrast" in found


def test_axe_finds_nothing(axe, page, server):
    answers = server[0]
    assert found_by(axe, page) == []
    page.choose("task", "both")
    answers.pause_seconds = 5
    page.give(CALL)
    page.wait(lambda: page.state() == "working")
    assert found_by(axe, page) == []
    page.press("#stop")
    answers.pause_seconds = 0
    page.press("#again")
    page.wait(lambda: page.state() == "done")
    page.press("#rows .word")
    page.press("#correcting")
    page.press("#rows .word", 1)  # a field is open
    assert found_by(axe, page) == []
    answers.refusals = [(400, {}, "this is no recording")]
    page.give(CALL)
    page.wait(lambda: page.state() == "failed")
    assert found_by(axe, page) == []
    answers.key = "a-key"
    page.press("#again")
    page.wait(lambda: page.shown("#key-dialog"))
    assert found_by(axe, page) == []
