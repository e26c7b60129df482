"""The studio as a person meets it, in a real browser with the network cut off."""

from __future__ import annotations

import json
import re
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from browsing import NARROW, Person, browser, person_at
from labelwise.annotation import Mention
from labelwise.data import read_jsonl
from labelwise.metrics import score_mentions
from labelwise.sample_data import sample_path
from labelwise.tagger import Tagger
from studios import Running, need_default_model, running

pytestmark = pytest.mark.browser

SCRIPTS = [
    "Ada 😀 lives in Oslo now",
    "東京タワーは高い 😀 です",
    "تعيش آدا في مدينة أوسلو الآن",
    "é́ combining ﬁ İ",
    "<img src=x onerror='window.__xss=1'> in Oslo",
]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as started:
        yield started


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Running]:
    need_default_model()
    with running(tmp_path / "contracts.db") as started:
        yield started


def gold_of_sample(name: str) -> dict[str, set[tuple[int, int, str]]]:
    """Gold marks of a sample by text, in code points."""
    found = {}
    for part in ("train", "test"):
        for s in read_jsonl(sample_path(name) / f"{part}.jsonl"):
            offsets = s.offsets or ()
            found[s.text or ""] = {
                (offsets[m.start][0], offsets[m.end - 1][1], m.label) for m in s.mentions
            }
    return found


def correct(person: Person, gold: set[tuple[int, int, str]], keys: dict[str, str]) -> None:
    """Make the current text right with as few actions as a person would."""
    shown = person.marks()
    for start, end, label in sorted(shown - gold):
        relabelled = next((g for g in gold - shown if g[:2] == (start, end)), None)
        is_replaced = any(g[0] < end and start < g[1] for g in gold - shown)
        if relabelled:
            person.point_at(start)
            person.press(keys[relabelled[2]])
        elif not is_replaced:
            person.point_at(start)
            person.press("x")
        del label
    for start, end, label in sorted(gold - person.marks()):
        person.drag(start, end)
        person.press(keys[label])
    assert person.marks() == gold


def wait_for_text(page: Any, beginning: str) -> None:
    """Wait until the current text is the one that begins so, and what is suggested has come."""
    page.wait_for_function(
        "beginning => document.querySelector('.card.current[aria-busy=false] .text')"
        "?.textContent.startsWith(beginning)",
        arg=beginning,
    )


def hold(page: Any, address: str) -> Callable[[], None]:
    """Keep requests waiting; returns what lets them go."""
    held: list[Any] = []
    page.route(address, lambda route: held.append(route))

    def let_go() -> None:
        for route in held:
            route.continue_()
        page.unroute(address)

    return let_go


def processor_s(page: Any) -> float:
    """Processor time that the page's main thread has taken, whatever else the machine does."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    metrics = {m["name"]: m["value"] for m in session.send("Performance.getMetrics")["metrics"]}
    return metrics["TaskDuration"]


def drop_in(person: Person, name: str, content: str) -> None:
    """Choose a file in the import dialog, and import it."""
    file = {"name": name, "mimeType": "text/plain", "buffer": content.encode()}
    person.page.set_input_files("dialog input[type=file]", files=[file])
    person.click("dialog .button.main:not([disabled])")


def start_sample(person: Person, name: str = "contracts") -> None:
    person.click(f"[data-sample={name}]")
    person.page.wait_for_selector(".card .mark")


def start_with(person: Person, texts: str, labels: str) -> None:
    person.page.fill("#welcome-texts", texts)
    person.page.fill("#welcome-labels", labels)
    person.click("text=Start")
    person.page.wait_for_selector(".card.current .text")


def f1_on_rest(person: Person, gold: dict[str, set[tuple[int, int, str]]]) -> float:
    """Score of the suggestions on all open texts, by the page's own routes."""
    answer = person.page.evaluate(
        """async () => {
          const get = async (path, body) => (await fetch(`/studio/api/${path}`, body && {
            method: 'POST', body: JSON.stringify(body),
            headers: { 'Content-Type': 'application/json' } })).json();
          const { ids } = await get('order?show=open');
          const [{ texts }, { texts: found }] = await Promise.all(
            [get('texts', { ids }), get('suggestions', { ids })]);
          const { labels } = await get('project');
          const names = Object.fromEntries(labels.map(x => [x.id, x.name]));
          return texts.map(t => [t.text, found[t.id].map(s => [s.start, s.end, names[s.label]])]);
        }"""
    )
    wanted = [[Mention(*m) for m in gold[text]] for text, _ in answer]
    found = [[Mention(*m) for m in marks] for _, marks in answer]
    return score_mentions(wanted, found).micro_f1


def test_five_corrections_make_a_useful_model(
    chromium: Any, studio: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    gold = gold_of_sample("support")
    with person_at(chromium, studio) as person:
        page = person.page
        person.picture("start")
        started = time.perf_counter()
        start_sample(person, "support")
        names = page.locator(".label-name").all_inner_texts()
        keys = {name: str(i) for i, name in enumerate(names, start=1)}
        before = f1_on_rest(person, gold)
        person.n_clicks = person.n_keys = 0
        computing, n_changed = 0.0, 0
        for n in range(5):
            text = person.text.inner_text()
            correct(person, gold[text], keys)
            if n == 2:
                person.press("ArrowRight", "Shift+ArrowRight")
                person.picture("label")
                person.press("Escape")
            person.accept()
            computing += float(page.evaluate("document.body.dataset.refitMs")) / 1000
            n_changed += page.locator(".badge.changed").count()
        after = f1_on_rest(person, gold)
        seconds = time.perf_counter() - started
        page.wait_for_function("() => document.querySelectorAll('.chart .dot').length > 3")
        person.picture("learn")
    with capsys.disabled():
        print(
            f"\nSample 'support', five corrections: {person.n_clicks} clicks, {person.n_keys} "
            f"keys, {computing:.2f} s of computing, {seconds:.0f} s in all; F1 on the other 67 "
            f"texts {100 * before:.1f} -> {100 * after:.1f}"
        )
    assert after > max(before, 0.75)
    assert n_changed > 0
    assert seconds < 120


def test_a_person_annotates_by_mouse_and_keyboard(chromium: Any, studio: Running) -> None:
    with person_at(chromium, studio) as person:
        page = person.page
        start_with(person, "\n".join(SCRIPTS), "person, city")
        person.click("text=As imported")
        wait_for_text(page, "Ada")

        person.drag(15, 19)  # by mouse: after a character of two units
        person.press("2")
        assert (15, 19, "city") in person.marks()
        person.drag(1, 2)  # snaps to the word
        person.press("1")
        assert {(0, 3, "person"), (15, 19, "city")} <= person.marks()
        person.drag(16, 18, exactly=True)  # but not with the modifier
        person.click(".pick >> nth=1")
        assert (16, 18, "city") in person.marks()
        person.press("Control+z")
        page.wait_for_selector(".card.current mark >> text=Oslo")
        assert (15, 19, "city") in person.marks()
        person.accept()

        assert "東京" in person.text.inner_text()
        person.press("Home", "Shift+ArrowRight", "2")  # by keyboard: every character is a word
        assert (0, 2, "city") in person.marks()
        person.accept()

        assert "أوسلو" in person.text.inner_text()
        person.press("Home", "ArrowLeft", "1")  # from right to left, the next word is to the left
        assert (5, 8, "person") in person.marks()
        person.accept()

        person.press("Control+z")
        wait_for_text(page, "تعيش")
        assert (5, 8, "person") in person.marks()
        person.accept()

        page.reload()
        page.wait_for_selector(".card")
        person.click("[data-show=accepted]")
        page.wait_for_function("() => document.querySelectorAll('.card.accepted').length === 3")
        person.click(".card.accepted >> nth=0")
        assert {(0, 3, "person"), (15, 19, "city")} <= person.marks()
        assert page.evaluate("window.__xss") is None
        assert page.locator("img[src=x]").count() == 0


def test_texts_are_found_by_what_they_hold(chromium: Any, studio: Running) -> None:
    with person_at(chromium, studio) as person:
        page = person.page
        start_with(person, "Ada left\nBob came to Zürich\nEve went", "person")
        person.press("/")
        page.keyboard.type("zÜR")
        page.wait_for_function("() => document.querySelectorAll('.card').length === 1")
        wait_for_text(page, "Bob")
        assert page.evaluate("document.activeElement.id") == "search"
        person.press("Enter", "Enter")  # back to the texts, and accept
        page.wait_for_selector(".list.empty")
        page.fill("#search", "")
        page.wait_for_function("() => document.querySelectorAll('.card').length === 2")


def test_a_search_that_is_over_does_not_come_back(chromium: Any, studio: Running) -> None:
    with person_at(chromium, studio) as person:
        page = person.page
        start_with(person, "Ada left\nBob came to Zürich\nEve went", "person")
        let_go = hold(page, "**/studio/api/order?*containing=e*")
        with page.expect_request("**/studio/api/order?*containing=e*"):
            page.fill("#search", "e")
        page.fill("#search", "Bob")
        page.wait_for_function("() => document.querySelectorAll('.card').length === 1")
        with page.expect_response("**/studio/api/order?*containing=e*"):
            let_go()
        page.wait_for_timeout(300)
        assert page.locator(".card").count() == 1
        assert person.text.text_content() == "Bob came to Zürich"


def test_a_key_that_is_held_accepts_one_text(chromium: Any, studio: Running) -> None:
    with person_at(chromium, studio) as person:
        page = person.page
        start_sample(person)
        page.wait_for_selector(".card.current[aria-busy=false]")
        accepted: list[str] = []
        page.on("request", lambda r: r.method == "PUT" and accepted.append(r.url))
        for _ in range(4):  # without going up, these are repetitions
            page.keyboard.down("Enter")
            page.wait_for_timeout(100)
        page.keyboard.up("Enter")
        page.wait_for_selector("[data-show=accepted] .count >> text=1")
        assert len(accepted) == 1


@pytest.mark.parametrize("kind", ["a finger that scrolls", "the other button"])
def test_a_press_that_selects_nothing_stops_no_drawing(
    kind: str, chromium: Any, studio: Running
) -> None:
    with person_at(chromium, studio) as person:
        page = person.page
        start_sample(person)
        if kind == "the other button":  # whose menu takes what comes after
            person.text.hover()
            page.mouse.down(button="right")
        else:
            for event in ("pointerdown", "pointercancel"):
                person.text.dispatch_event(event, {"button": 0, "pointerType": "touch"})
        n_before = page.locator(".mark").count()
        for slider in page.locator(".slider").all():
            slider.evaluate("e => { e.value = 100; e.dispatchEvent(new Event('input')); }")
        assert page.locator(".mark").count() < n_before


def test_what_has_not_changed_stays_under_the_finger(chromium: Any, studio: Running) -> None:
    job = {"stage": "training", "loss": [1.0], "held_f1": [], "left_s": 50, "missing": None}
    asked: list[str] = []

    def train(route: Any) -> None:
        asked.append(route.request.method)
        route.fulfill(json=job | {"done": len(asked) / 100})

    def score(route: Any) -> None:
        route.fulfill(json=route.fetch().json() | {"is_scored": False})

    with person_at(chromium, studio) as person:
        page = person.page
        start_sample(person)
        page.route("**/studio/api/project", score)  # which is asked for again and again
        page.reload()
        page.wait_for_selector(".card .mark")
        page.focus("[data-show=accepted]")
        with (
            page.expect_response("**/studio/api/project"),
            page.expect_response("**/studio/api/project"),
        ):
            page.wait_for_timeout(700)
        assert page.evaluate("document.activeElement.dataset.show") == "accepted"
        page.route("**/studio/api/finetune", train)
        person.click("#open-finetune")
        page.locator("dialog .danger").hover()
        page.mouse.down()
        page.wait_for_timeout(1200)
        page.mouse.up()
        page.wait_for_timeout(300)
        assert asked.count("DELETE") == 1
        page.unroute_all(behavior="wait")


def test_the_preview_is_of_what_would_be_imported(chromium: Any, studio: Running) -> None:
    held: list[Any] = []

    def hold_first(route: Any) -> None:
        if "first" in route.request.post_data:
            held.append(route)
        else:
            route.continue_()

    with person_at(chromium, studio) as person:
        page = person.page
        start_with(person, "Ada left", "person")
        page.route("**/studio/api/import/preview", hold_first)
        person.click("#open-import")
        with page.expect_request("**/studio/api/import/preview"):
            page.fill("dialog textarea", "the first\nand another\nand more")
        page.fill("dialog textarea", "Eve went")
        page.wait_for_selector("dialog >> text=Import 1 text")
        with page.expect_response("**/studio/api/import/preview"):
            held[0].continue_()
        page.wait_for_timeout(300)
        assert page.locator("dialog .button.main").text_content() == "Import 1 text"
        box = page.locator("dialog textarea").bounding_box()
        page.mouse.move(box["x"] + 40, box["y"] + 12)  # selects, and lets go outside
        page.mouse.down()
        page.mouse.move(20, box["y"] + 12, steps=4)
        page.mouse.up()
        assert page.input_value("dialog textarea") == "Eve went"
        page.mouse.click(20, 400)
        page.wait_for_selector("dialog", state="detached")


def test_a_slider_that_is_put_back_holds_nothing_up(chromium: Any, studio: Running) -> None:
    with person_at(chromium, studio) as person:
        page = person.page
        start_with(person, "Ada left", "person")
        box = page.locator(".slider").bounding_box()
        middle = box["y"] + box["height"] / 2
        page.mouse.move(box["x"] + 8, middle)
        page.mouse.down()
        page.mouse.move(box["x"] + 60, middle, steps=4)
        page.mouse.move(box["x"] - 20, middle, steps=4)
        page.mouse.up()
        page.fill(".add-label input", "city")
        page.press(".add-label input", "Enter")
        page.wait_for_selector(".label-name >> text=city")


def test_a_threshold_hides_marks_while_it_moves(chromium: Any, studio: Running) -> None:
    with person_at(chromium, studio) as person:
        page = person.page
        start_sample(person)
        found = re.search(r"\bc(\d+)\b", page.locator(".mark").first.get_attribute("class"))
        label = int(found[1]) if found else -1
        marks, slider = page.locator(f".mark.c{label}"), page.locator(".slider").nth(label)
        n_before = marks.count()
        slider.evaluate("e => { e.value = 100; e.dispatchEvent(new Event('input')); }")
        assert marks.count() < n_before
        with page.expect_response("**/studio/api/labels/*"):
            slider.evaluate("e => e.dispatchEvent(new Event('change'))")
        page.reload()
        page.wait_for_selector(".label")
        assert slider.input_value() == "100"


def test_describing_a_label_changes_what_is_found(chromium: Any, studio: Running) -> None:
    with person_at(chromium, studio) as person:
        page = person.page
        start_sample(person)
        before = page.locator(".card .text").all_inner_texts(), page.locator(".mark").count()
        person.click(".edit >> nth=0")
        page.fill(".label-fields input >> nth=1", "animal")
        page.fill(".label-fields textarea", "A living being that is no plant.")
        updates = person.updates
        person.click(".label-fields .main")
        page.wait_for_function("n => Number(document.body.dataset.updates) > n", arg=updates)
        assert page.locator(".mark").count() != before[1]


def test_labels_that_read_alike_are_named_until_they_differ(chromium: Any, studio: Running) -> None:
    with person_at(chromium, studio) as person:
        page = person.page
        start_with(person, "Ada lives in Oslo", "person, city, town")
        said = page.locator(".alike")
        assert said.is_hidden()
        person.click(".edit >> nth=2")
        page.fill(".label-fields input >> nth=1", "City")
        person.click(".label-fields .main")
        said.wait_for()
        assert "'city' and 'town' read as the same words, 'city'" in said.inner_text()
        person.click(".edit >> nth=2")
        page.fill(".label-fields textarea", "A place smaller than a city.")
        person.click(".label-fields .main")
        said.wait_for(state="hidden")


def test_what_could_not_be_saved_is_shown_so_and_saved_again(
    chromium: Any, studio: Running
) -> None:
    with person_at(chromium, studio) as person:
        page = person.page
        start_sample(person)
        person.click("text=As imported")
        wait_for_text(page, "This lease")
        with page.expect_response("**/studio/api/texts/*"):
            person.press("Home", "7")
        marks = person.marks()
        page.route("**/studio/api/**", lambda route: route.abort())
        person.press("Enter")
        page.wait_for_selector(".card.unsaved >> text=not saved")
        page.wait_for_selector(".toast.error >> text=Not saved. The studio does not answer.")
        person.press("ArrowUp", "Enter")  # in vain again
        page.wait_for_function("() => document.querySelectorAll('.toast.error').length > 1")
        page.wait_for_selector(".card.unsaved")
        person.press("ArrowUp")
        assert person.marks() == marks
        assert asks_before_leaving(page)
        page.unroute("**/studio/api/**")
        person.problems[:] = [p for p in person.problems if "ERR_FAILED" not in p]
        person.click(".card.current >> text=Save again")
        page.wait_for_function(
            "() => document.querySelector('[data-show=accepted] .count').textContent === '1'"
        )
        person.click("[data-show=accepted]")
        page.wait_for_selector(".card.current.accepted")
        assert person.marks() == marks
        assert not asks_before_leaving(page)


def test_a_text_is_not_accepted_before_its_suggestions_have_come(
    chromium: Any, studio: Running
) -> None:
    with person_at(chromium, studio) as person:
        page = person.page
        let_go = hold(page, "**/studio/api/suggestions")
        person.click("[data-sample=contracts]")
        page.wait_for_selector(".card.current[aria-busy=true] .text")
        person.press("Enter")
        page.wait_for_selector(".toast >> text=still to come")
        person.press("Home", "1")
        page.wait_for_function("() => document.querySelectorAll('.toast').length > 1")
        page.wait_for_selector(".card.current.new")
        let_go()
        page.wait_for_selector(".card.current[aria-busy=false] .mark.suggested")
        marks = {m[:2] for m in person.marks()}
        with page.expect_request("**/studio/api/texts/*") as request:
            person.press("Enter")
        assert {(m["start"], m["end"]) for m in request.value.post_data_json["marks"]} == marks


def test_a_text_whose_suggestions_failed_to_come_is_not_taken_for_one_without_any(
    chromium: Any, studio: Running
) -> None:
    def fail(route: Any) -> None:
        asked.append(route.request.url)
        route.fulfill(status=422, json={"error": {"code": "request_error", "message": "Too slow."}})

    asked: list[str] = []
    with person_at(chromium, studio) as person:
        page = person.page
        page.route("**/studio/api/suggestions", fail)
        person.click("[data-sample=contracts]")
        page.wait_for_selector(".toast.error >> text=Too slow.")
        page.wait_for_selector(".card.current[aria-busy=true] .text:not(.ghost)")
        person.press("Enter")
        page.wait_for_selector(".toast >> text=still to come")
        page.wait_for_selector(".card.current.new")
        before = len(asked)
        page.wait_for_timeout(2000)
        assert before < len(asked) < before + 8
        assert page.locator(".toast >> text=Too slow.").count() <= 1
        page.unroute("**/studio/api/suggestions")
        page.wait_for_selector(".card.current[aria-busy=false] .mark.suggested")
        page.route("**/studio/api/suggestions", fail)
        person.press("Enter")  # and after it is learned from, the others are asked for in vain
        page.wait_for_selector(".card.current.new[aria-busy=true]")
        page.unroute("**/studio/api/suggestions")
        page.wait_for_selector(".card.current[aria-busy=false] .mark.suggested")
        person.problems[:] = [p for p in person.problems if "422" not in p]


def test_without_a_model_texts_are_marked_all_the_same(chromium: Any, studio: Running) -> None:
    with person_at(chromium, studio) as person:
        page = person.page
        page.route(
            "**/studio/api/suggestions",
            lambda route: route.fulfill(
                status=422, json={"error": {"code": "no_model", "message": "There is no model."}}
            ),
        )
        person.click("[data-sample=contracts]")
        page.wait_for_selector(".card.current[aria-busy=false] .text:not(.ghost)")
        person.press("Enter")
        page.wait_for_function(
            "() => document.querySelector('[data-show=accepted] .count').textContent === '1'"
        )
        person.problems[:] = [p for p in person.problems if "422" not in p]


def test_a_studio_that_does_not_answer_is_asked_again_now_and_then(
    chromium: Any, studio: Running
) -> None:
    with person_at(chromium, studio) as person:
        page = person.page
        page.route("**/studio/api/texts", lambda route: route.abort())
        person.click("[data-sample=contracts]")
        page.wait_for_selector(".toast.error >> text=The studio does not answer.")
        before = len(person.requests)
        page.wait_for_timeout(2000)
        assert len(person.requests) - before < 15
        page.unroute("**/studio/api/texts")
        person.problems[:] = [p for p in person.problems if "ERR_FAILED" not in p]
        page.wait_for_selector(".card.current .text:not(.ghost)")


def test_a_selection_that_grew_to_a_space_is_marked_without_it(
    chromium: Any, studio: Running
) -> None:
    with person_at(chromium, studio) as person:
        page = person.page
        page.fill("#welcome-texts", "Ada left")
        page.fill("#welcome-labels", "person")
        person.click("text=Start")
        wait_for_text(page, "Ada")
        person.press("Home", "Alt+Shift+ArrowRight")
        with page.expect_response("**/studio/api/texts/*") as response:
            person.press("1")
        assert response.value.ok
        assert person.marks() == {(0, 3, "person")}
        person.press("Home", "Alt+Shift+ArrowRight", "Alt+Shift+ArrowRight", "1")
        assert person.marks() == {(0, 5, "person")}


def asks_before_leaving(page: Any) -> bool:
    return page.evaluate("!dispatchEvent(new Event('beforeunload', { cancelable: true }))")


def test_a_text_is_saved_after_the_list_could_not_be_ordered(
    chromium: Any, studio: Running
) -> None:
    with person_at(chromium, studio) as person:
        page = person.page
        start_sample(person)
        beginning = person.text.text_content()[:40]
        page.route("**/studio/api/order?*", lambda route: route.abort())
        person.press("Enter")
        page.wait_for_selector(".toast.error >> text=The studio does not answer.")
        page.unroute("**/studio/api/order?*")
        person.problems[:] = [p for p in person.problems if "ERR_FAILED" not in p]
        person.press("Control+z")
        wait_for_text(page, beginning)
        with page.expect_response("**/studio/api/texts/*", timeout=20_000):
            person.press("Enter")


def test_two_tabs_cannot_overwrite_each_other(chromium: Any, studio: Running) -> None:
    with person_at(chromium, studio) as person:
        page = person.page
        start_sample(person)
        person.click("text=As imported")
        wait_for_text(page, "This lease")
        other = page.context.new_page()
        other.goto(studio.origin + "/studio")
        other.wait_for_selector(".card .mark")
        other.click("text=As imported")
        wait_for_text(other, "This lease")
        other.keyboard.press("Home")
        other.keyboard.press("7")
        other.wait_for_selector(".card.current .mark.sure")
        other.wait_for_timeout(500)
        person.drag(27, 47)
        person.press("1")
        page.wait_for_selector("dialog >> text=changed elsewhere")
        person.problems[:] = [p for p in person.problems if "409" not in p]
        person.click("dialog >> text=Merge both")
        page.wait_for_selector("dialog", state="detached")
        assert {m[2] for m in person.marks()} >= {"party", "contract_type"}
        other.close()


def test_a_save_that_waits_cannot_pass_a_conflict_by(chromium: Any, studio: Running) -> None:
    with person_at(chromium, studio) as person:
        page = person.page
        start_sample(person)
        person.click("text=As imported")
        wait_for_text(page, "This lease")
        page.evaluate(
            """async () => {
              const put = body => fetch('/studio/api/texts/1', { method: 'PUT',
                headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });
              await put({ version: 0, state: 'draft', marks: [] });
            }"""
        )
        let_go = hold(page, "**/studio/api/texts/*")
        with page.expect_request("**/studio/api/texts/*"):
            person.press("Home", "7")
        person.drag(27, 47)
        person.press("1")
        mine = person.marks()
        let_go()
        page.wait_for_selector("dialog >> text=changed elsewhere")
        person.problems[:] = [p for p in person.problems if "409" not in p]
        assert "no marks" in page.locator("dialog").inner_text()
        page.wait_for_timeout(300)
        assert sum(r.endswith("/texts/1") for r in person.requests) == 2  # that above, and one
        assert page.locator("dialog section >> nth=0").locator("mark").count() == len(mine)
        person.click("dialog >> text=Keep yours")
        page.wait_for_selector("dialog", state="detached")
        assert person.marks() == mine


def test_two_tabs_cannot_overwrite_each_others_labels(chromium: Any, studio: Running) -> None:
    with person_at(chromium, studio) as person:
        page = person.page
        start_sample(person)
        other = page.context.new_page()
        other.goto(studio.origin + "/studio")
        other.wait_for_selector(".card .mark")
        person.click(".edit >> nth=0")  # both have the form open
        other.click(".edit >> nth=0")
        other.fill(".label-fields textarea", "Who signs.")
        other.click(".label-fields .main")
        other.wait_for_selector(".label-fields", state="detached")
        page.fill(".label-fields input >> nth=0", "signatory")
        person.click(".label-fields .main")
        page.wait_for_selector("dialog >> text=This label was changed elsewhere")
        person.problems[:] = [p for p in person.problems if "409" not in p]
        assert "Who signs." in page.locator("dialog").inner_text()
        person.click("dialog >> text=Merge both")
        page.wait_for_selector(".label-name >> text=signatory")
        person.click(".edit >> nth=0")
        assert page.input_value(".label-fields textarea") == "Who signs."
        other.close()


def test_two_studios_work_side_by_side(chromium: Any, studio: Running, tmp_path: Path) -> None:
    with running(tmp_path / "other.db") as second, person_at(chromium, studio) as person:
        page = person.page
        other = page.context.new_page()
        other.goto(second.address)
        other.wait_for_selector("[data-sample=support]")
        start_sample(person)
        other.click("[data-sample=support]")
        other.wait_for_selector(".card .mark")
        names = page.locator(".label-name").all_inner_texts()
        assert names != other.locator(".label-name").all_inner_texts()
        other.close()


def test_ten_thousand_texts_do_not_lag(chromium: Any, studio: Running) -> None:
    with person_at(chromium, studio) as person:
        page = person.page
        person.click("text=Import a file")
        drop_in(person, "many.txt", "\n".join(f"Text number {i} of Ada" for i in range(10_000)))
        page.wait_for_selector(".card.current .text")
        page.fill(".add-label input", "person")
        person.click(".add-label button")
        page.wait_for_selector(".card .mark")
        person.click("text=As imported")
        wait_for_text(page, "Text number 0")
        before_s = processor_s(page)
        page.evaluate(
            """async () => {
              const list = document.getElementById('list');
              for (let i = 0; i < 40; i += 1) {
                list.scrollTop = Math.random() * list.scrollHeight;
                await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
              }
            }"""
        )
        jump_s = (processor_s(page) - before_s) / 40
        assert page.locator(".card").count() < 60
        assert jump_s < 0.05  # with what a jump loads and draws
        page.evaluate("document.getElementById('list').scrollTop = 0")
        person.accept()
        page.wait_for_function(
            "() => document.querySelector('[data-show=open] .count').textContent === '9,999'"
        )


def test_a_file_dropped_on_the_window_is_imported(chromium: Any, studio: Running) -> None:
    with person_at(chromium, studio) as person:
        page = person.page
        start_sample(person)
        page.evaluate(
            """() => {
              const transfer = new DataTransfer();
              const entities = [{ start: 0, end: 3, label: 'person' }];
              const row = { text: 'Ada in Oslo', entities };
              transfer.items.add(new File([JSON.stringify(row)], 'more.jsonl'));
              for (const kind of ['dragenter', 'drop']) {
                const init = { dataTransfer: transfer, bubbles: true };
                window.dispatchEvent(new DragEvent(kind, init));
              }
            }"""
        )
        page.wait_for_selector("dialog .button.main:not([disabled])")
        assert "1 of them annotated" in page.locator(".preview").inner_text()
        person.click("dialog .button.main")
        page.wait_for_function(
            "() => document.querySelector('[data-show=accepted] .count').textContent === '1'"
        )


def test_offsets_are_those_of_python(chromium: Any, studio: Running) -> None:
    with person_at(chromium, studio) as person:
        for text in [*SCRIPTS, "", "😀", "a😀b😀", "👩‍👩‍👧 family", "\U0010ffff\u0000x"]:
            units = [len(text[:i].encode("utf-16-le")) // 2 for i in range(len(text) + 1)]
            found = person.page.evaluate(
                """async text => {
                  const { Offsets } = await import('/studio/static/offsets.js');
                  const offsets = new Offsets(text);
                  const points = Array.from({ length: offsets.length + 1 }, (_, i) => i);
                  const units = points.map(p => offsets.unit(p));
                  return [units, units.map(u => offsets.point(u))];
                }""",
                text,
            )
            assert found == [units, list(range(len(text) + 1))]


def test_fine_tuning_and_export_end_in_a_model_that_python_loads(
    chromium: Any, tmp_path: Path
) -> None:
    pytest.importorskip("torch", reason="fine-tuning needs labelwise[train]")
    pytest.importorskip("onnxscript", reason="fine-tuning needs labelwise[train]")
    from builders import tiny_model_folder

    model = tiny_model_folder(tmp_path)
    rows = [
        {"text": f"{who} lives in {where}", "entities": [
            {"start": 0, "end": len(who), "label": "person"},
            {"start": len(who) + 10, "end": len(who) + 10 + len(where), "label": "city"},
        ]}
        for who in ("ada", "bob", "anna") for where in ("oslo", "rome")
    ]  # fmt: skip
    content = "\n".join(map(json.dumps, rows)) + '\n{"text": "carl lives in paris"}'
    with (
        running(tmp_path / "tiny.db", "--model", str(model)) as studio,
        person_at(chromium, studio) as person,
    ):
        page = person.page
        person.click("text=Import a file")
        drop_in(person, "a.jsonl", content)
        page.wait_for_selector(".card.current .text")
        person.click("#open-finetune")
        person.click("dialog >> text=Start fine-tuning")
        page.wait_for_selector("dialog >> text=left", timeout=300_000)
        page.wait_for_selector("dialog >> text=After", timeout=900_000)
        person.picture("finetune")
        person.click("dialog >> text=Use the fine-tuned model")
        page.wait_for_selector("text=The fine-tuned model is in use.")
        person.press("Escape")
        person.click("#open-export")
        page.wait_for_selector(".code:not(:empty)")
        person.picture("export")
        with page.expect_download(timeout=300_000) as download:
            person.click("[data-export=model]")
        download.value.save_as(tmp_path / "model.zip")
        with page.expect_download(timeout=300_000) as download:
            person.click("[data-export=jsonl]")
        download.value.save_as(tmp_path / "a.jsonl")
        shown = page.evaluate(
            """() => fetch('/studio/api/suggestions', {
              method: 'POST', body: '{"ids": [7]}',
              headers: { 'Content-Type': 'application/json' },
            }).then(answer => answer.json())"""
        )
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        archive.extractall(tmp_path)
    tagger = Tagger.from_pretrained(tmp_path / "model")
    found = tagger.predict("carl lives in paris")
    assert [(r["start"], r["end"]) for r in found] == [
        (s["start"], s["end"]) for s in shown["texts"]["7"]
    ]
    assert len(read_jsonl(tmp_path / "a.jsonl")) == 6


def test_the_page_fits_a_narrow_screen_and_the_dark(chromium: Any, studio: Running) -> None:
    with person_at(chromium, studio, viewport=NARROW, color_scheme="dark") as person:
        page = person.page
        start_sample(person)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        person.press("ArrowRight", "Shift+ArrowRight")
        page.wait_for_selector(".picker:not([hidden])")
        box = page.locator(".picker").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= NARROW["width"]
        person.picture("narrow")
        person.press("Escape")
        person.click("#open-panel")
        page.wait_for_selector(".panel.open")


def test_everything_has_a_name_for_those_who_cannot_see_it(chromium: Any, studio: Running) -> None:
    with person_at(chromium, studio) as person:
        page = person.page
        start_sample(person)
        for opener in ("#open-import", "#open-export", "#open-finetune", "#open-help"):
            person.click(opener)
            page.wait_for_selector("dialog")
            nameless = page.evaluate(
                """() => {
                  const named = e => e.getAttribute('aria-label') || e.textContent.trim()
                    || e.closest('label') || document.querySelector(`label[for="${e.id}"]`);
                  const controls = 'button, input, select, textarea, [role=img]';
                  return [...document.querySelectorAll(controls)]
                    .filter(e => e.checkVisibility() && !named(e))
                    .map(e => e.outerHTML.slice(0, 100));
                }"""
            )
            assert nameless == []
            person.press("Escape")
            page.wait_for_selector("dialog", state="detached")
        person.press("?")
        page.wait_for_selector("dialog >> text=Keyboard")
