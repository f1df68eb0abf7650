"""What people do, in a real browser: type, filter, open, hover, weigh, drop, keyboard only, no script."""

from __future__ import annotations

import base64
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from index import Library
from index.web.serve import Server
from tests.support.site import build, draw_photos, make_service, running
from tests.support.tiny_model import model_folder
from vsearch.model import Model
from vsearch.scores import shares_of

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytest.importorskip("playwright", reason="playwright is not installed")
if CHROMIUM is None:
    pytest.skip("chromium is not installed (Debian: apt-get install chromium)", allow_module_level=True)

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright  # noqa: E402

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    """A server over 70 pictures: more than a page of them."""
    place = tmp_path_factory.mktemp("browser")
    build(place, 70)
    with running(make_service(place)) as server:
        yield server, place


@pytest.fixture
def context(browser: Browser, site: tuple[Server, Path]) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1100, "height": 800}, reduced_motion="reduce")
    context.set_default_timeout(20_000)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, site: tuple[Server, Path]) -> Iterator[Page]:
    """The first page, opened with the key; nothing may be refused by its policy, and no script may fail."""
    page = context.new_page()
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda said: troubles.append(said.text) if "Content Security Policy" in said.text else None)
    page.goto(site[0].address_with_key)
    yield page
    assert troubles == []


def ids(page: Page) -> list[int]:
    found: list[int] = page.evaluate("[...document.querySelectorAll('.tile')].map(tile => tile.hit.id)")
    return found


def asked(page: Page, address: str) -> list[int]:
    """Ask the API with the browser's cookie: the ids of the hits."""
    found: list[int] = page.evaluate(
        "async address => (await (await fetch(address)).json()).hits.map(hit => hit.id)", address
    )
    return found


def test_type_and_search(page: Page, site: tuple[Server, Path]) -> None:
    assert "key" not in page.url
    expect(page.locator("#q")).to_be_focused()
    expect(page.locator("#count")).to_have_text("60 of 70 pictures, by date")
    page.keyboard.type("dog -boat")
    page.keyboard.press("Enter")
    expect(page.locator("#count")).to_have_text("60 of 70 pictures")
    assert page.url.endswith("/?q=dog+-boat")
    assert ids(page) == asked(page, "/api/search?q=dog+-boat")
    page.go_back()
    expect(page.locator("#count")).to_have_text("60 of 70 pictures, by date")
    expect(page.locator("#q")).to_have_value("")
    page.go_forward()
    expect(page.locator("#q")).to_have_value("dog -boat")
    expect(page.locator("#count")).to_have_text("60 of 70 pictures")
    before = ids(page)
    page.reload()
    assert ids(page) == before


def test_rows_are_justified_and_nothing_is_distorted(page: Page) -> None:
    boxes = page.evaluate(
        "[...document.querySelectorAll('.tile')].map(t => {"
        " const b = t.querySelector('.frame').getBoundingClientRect();"
        " return [Math.round(b.top), b.left, b.right, b.width / b.height, t.hit.width / t.hit.height]; })"
    )
    right = page.evaluate("document.getElementById('grid').getBoundingClientRect().right")
    tops = sorted({box[0] for box in boxes})
    assert len(tops) >= 5
    for top in tops[:-1]:
        assert max(box[2] for box in boxes if box[0] == top) == pytest.approx(right, abs=8)
    assert max(abs(box[3] / box[4] - 1) for box in boxes) < 0.06


def test_more_on_sight(page: Page) -> None:
    page.locator("#more").scroll_into_view_if_needed()
    expect(page.locator(".tile")).to_have_count(70)
    expect(page.locator("#more")).to_be_hidden()
    expect(page.locator("#count")).to_have_text("70 of 70 pictures, by date")
    assert ids(page) == [*asked(page, "/api/search"), *asked(page, "/api/search?after=60")]


def test_filters(page: Page) -> None:
    page.get_by_text("Filters").click()
    page.get_by_label("Camera").select_option("Lumina L2")
    expect(page.locator("#count")).to_have_text(re.compile(r"12 of 12 pictures"))
    assert "camera=Lumina+L2" in page.url
    page.get_by_label("Taken from").fill("2024-05-01")
    page.get_by_label("Taken from").blur()
    expect(page.locator("#count")).not_to_have_text(re.compile(r"12 of 12"))
    assert "from=2024-05-01" in page.url


def test_what_a_name_says_is_in_the_tile(page: Page) -> None:
    """The script makes it as the server does."""
    page.get_by_text("Filters").click()
    page.get_by_label("Says").fill("017")
    page.get_by_label("Says").press("Enter")
    expect(page.locator("#count")).to_have_text(re.compile("^1 of 1"))
    made = page.locator(".tile .said").all_text_contents()
    assert len(made) == 1 and re.fullmatch("name: .*017.*", made[0])
    page.reload()
    assert page.locator(".tile .said").all_text_contents() == made


def test_folders_are_a_tree(browser: Browser, tmp_path: Path) -> None:
    """Opened one by one with the keyboard or a click; what is in one is asked for only then."""
    for name in ("2023", "2024/autumn", "2024/spring"):
        draw_photos(tmp_path / "photos" / name, 2)
    with Library.open(tmp_path / "library", Model(model_folder(), "cpu")) as library:
        library.build([tmp_path / "photos"], captions=False)
    with running(make_service(tmp_path)) as server, closing(browser.new_context()) as context:
        page = context.new_page()
        asked: list[str] = []
        page.on("request", lambda sent: asked.append(sent.url) if "/api/folders" in sent.url else None)
        page.goto(server.address_with_key)
        page.get_by_text("Filters").click()
        tree = page.get_by_role("tree", name="Folder")
        top = tree.get_by_role("treeitem", name=f"{tmp_path}/photos, 6 pictures")
        expect(top).to_have_attribute("aria-expanded", "true")  # the only one
        later = tree.get_by_role("treeitem", name="2024, 4 pictures")
        expect(tree.get_by_role("treeitem", name="2023, 2 pictures")).not_to_have_attribute("aria-expanded", "false")
        assert len(asked) == 2
        tree.get_by_role("treeitem", name="All folders").focus()
        for key in ("ArrowDown", "ArrowRight", "ArrowDown", "ArrowRight"):  # opens 2024
            page.keyboard.press(key)
        expect(later).to_have_attribute("aria-expanded", "true")
        assert len(asked) == 3
        page.keyboard.press("ArrowRight")
        expect(tree.get_by_role("treeitem", name="autumn, 2 pictures")).to_be_focused()
        page.keyboard.press("s")
        page.keyboard.press("Enter")
        expect(page.locator("#count")).to_have_text("2 of 2 pictures, by date")
        assert page.url.endswith("photos%2F2024%2Fspring")
        expect(tree.locator("[aria-selected=true]")).to_have_attribute("aria-label", "spring, 2 pictures")
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowLeft")
        expect(later).to_have_attribute("aria-expanded", "false")
        page.reload()  # what the address says is open and marked
        expect(tree.locator("[aria-selected=true]")).to_have_attribute("aria-label", "spring, 2 pictures")
        tree.get_by_text("All folders").click()
        expect(page.locator("#count")).to_have_text("6 of 6 pictures, by date")


def test_a_bar_of_the_chart_is_a_month(page: Page) -> None:
    page.get_by_text("Filters").click()
    page.locator("#months rect", has_text="2024-04").dispatch_event("click")
    expect(page.locator("#count")).to_have_text(re.compile("^6 of 6"))
    assert "from=2024-04-01&to=2024-04-30" in page.url


def test_open_hover_and_step(page: Page) -> None:
    page.goto(page.url + "?q=dog")
    first, second = ids(page)[:2]
    page.locator("a.frame").first.click()
    dialog = page.get_by_role("dialog", name="Picture")
    expect(dialog.locator(".picture")).to_have_attribute("data-id", str(first))
    assert page.url.endswith(f"/p/{first}?q=dog")
    dialog.locator(".sentence button").first.hover()
    expect(dialog.locator(".looks")).to_have_text(re.compile("looks at: (upper|lower|middle|the)"))
    expect(dialog.locator("canvas")).to_have_class("on")
    page.mouse.move(5, 5)
    expect(dialog.locator("canvas")).not_to_have_class("on")
    dialog.get_by_role("button", name="where?").click()
    expect(dialog.locator(".looks")).to_have_text(re.compile("“dog” looks at: "))
    assert dialog.locator("canvas").evaluate("canvas => [canvas.width, canvas.height]") == [2, 2]
    page.keyboard.press("ArrowRight")
    expect(dialog.locator(".picture")).to_have_attribute("data-id", str(second))
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert page.url.endswith("/?q=dog")


def test_a_picture_opened_by_its_address(page: Page, site: tuple[Server, Path]) -> None:
    page.goto(f"{site[0].address}p/3?q=dog")
    expect(page.locator(".sentence button").first).to_be_visible()
    page.locator(".where").first.click()
    expect(page.locator(".looks")).to_have_text(re.compile("looks at"))
    page.locator("body").press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()
    page.locator("body").press("Escape")
    page.wait_for_url("**/?q=dog")


def test_similar(page: Page) -> None:
    page.locator("a.frame").nth(2).click()
    like = int(page.url.rsplit("/", 1)[1])
    expect(page.locator("dialog .picture")).to_have_attribute("data-id", str(like))
    page.keyboard.press("s")
    expect(page.locator("dialog#dialog")).to_be_hidden()
    expect(page.locator(".chip[data-kind=picture]")).to_be_visible()
    assert page.url.endswith(f"/?like={like}") and ids(page)[0] == like


def test_a_slider_orders_at_once_as_the_server_does(page: Page) -> None:
    """The order that the page computes is the server's for the same weights."""
    page.goto(page.url + "?q=dog+boat+-snow")
    before = ids(page)
    page.route("**/api/search**", lambda route: None)  # the server stays silent: what moves, the page has moved
    page.get_by_label("weight of boat").fill("-1.5")
    after = ids(page)
    page.unroute("**/api/search**")
    real = asked(page, "/api/search?q=dog+-1.5*boat+-snow&k=70")
    assert after != before and after == [id_ for id_ in real if id_ in set(after)]
    page.get_by_label("weight of boat").fill("-1.4")
    page.wait_for_url("**/?q=dog+-1.4*boat+-snow")
    expect(page.locator("#grid")).not_to_have_attribute("aria-busy", "true")
    assert ids(page) == asked(page, "/api/search?q=dog+-1.4*boat+-snow")


def test_scores_are_made_of_cosines_as_the_library_makes_them(page: Page) -> None:
    curves = ((6.0, -1.0), ((-1.0, 0.0), (0.1, 0.05), (0.4, 0.7), (1.0, 1.0)))
    cosines = [-1.0, -0.3, 0.0, 0.1, 0.25, 0.4, 0.9, 1.0]
    program = """async ([curve, values]) => {
      const address = document.querySelector("script[type=module]").src.replace("search.js", "board.js");
      const { calibrate } = await import(address);
      return values.map(value => calibrate(value, curve));
    }"""
    for curve in curves:
        assert page.evaluate(program, [curve, cosines]) == pytest.approx(shares_of(np.array(cosines), curve).tolist())


def test_take_a_term_away(page: Page) -> None:
    page.goto(page.url + "?q=dog+2*boat")
    page.get_by_role("button", name="take dog away").click()
    page.wait_for_url("**/?q=2*boat")
    expect(page.locator("#q")).to_have_value("2*boat")


DROP = """([name, data]) => {
  const bytes = Uint8Array.from(atob(data), letter => letter.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type: "image/jpeg" }));
  window.dispatchEvent(new DragEvent("dragenter", { dataTransfer: transfer, bubbles: true }));
  window.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
}"""


def test_drop_a_picture_and_weigh_it(page: Page, site: tuple[Server, Path]) -> None:
    photo = site[1] / "photos" / "017.jpg"
    page.evaluate(DROP, ["x.jpg", base64.b64encode(photo.read_bytes()).decode()])
    expect(page.locator(".chip[data-kind=picture]")).to_be_visible()
    [path] = page.evaluate("async id => [(await (await fetch(`/api/picture/${id}`)).json()).path]", ids(page)[0])
    assert os.path.basename(path) == "017.jpg"
    page.locator("#q").fill("dog")
    page.keyboard.press("Enter")
    expect(page.locator(".chip")).to_have_count(2)
    page.get_by_label("weight of the picture").fill("-1")
    assert ids(page)[0] != 18
    page.get_by_role("button", name="take the picture away").click()
    expect(page.locator(".chip")).to_have_count(1)


PASTE = """([name, data]) => {
  const bytes = Uint8Array.from(atob(data), letter => letter.charCodeAt(0));
  const clipboardData = new DataTransfer();
  clipboardData.items.add(new File([bytes], name, { type: "image/jpeg" }));
  window.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
}"""


@pytest.mark.parametrize(
    ("screen", "act", "wanted"),
    [
        ("map", DROP, "/"),
        ("time?q=dog", DROP, "/?q=dog"),
        ("library", PASTE, "/"),
        ("p/3?q=dog&like=2", PASTE, "/?q=dog"),
    ],
)
def test_a_picture_given_to_another_screen(
    page: Page, site: tuple[Server, Path], screen: str, act: str, wanted: str
) -> None:
    """It goes along to the search screen, once: not in the address, and nothing of it stays in the browser."""
    photo = site[1] / "photos" / "017.jpg"
    page.goto(site[0].address + screen)
    page.evaluate(act, ["x.jpg", base64.b64encode(photo.read_bytes()).decode()])
    expect(page.locator(".chip[data-kind=picture]")).to_be_visible()
    assert page.url == site[0].address.rstrip("/") + wanted
    expect(page.locator(".chip")).to_have_count(2 if "q=" in wanted else 1)
    real = page.context.request.post(
        f"{site[0].address}api/search",
        headers={"Origin": site[0].address.rstrip("/")},
        multipart={
            "file": {"name": "x.jpg", "mimeType": "image/jpeg", "buffer": photo.read_bytes()},
            "q": "dog" if "q=" in wanted else "",
        },
    )
    assert ids(page) == [hit["id"] for hit in real.json()["hits"]]
    left = page.evaluate(
        "() => new Promise(done => { indexedDB.open('vsearch', 1).onsuccess = event => {"
        " const store = event.target.result.transaction('pictures').objectStore('pictures');"
        " store.count().onsuccess = counted => done(counted.target.result); }; })"
    )
    assert left == 0 and page.evaluate("sessionStorage.length") == 0
    page.reload()
    expect(page.locator(".chip[data-kind=picture]")).to_have_count(0)


def test_choose_a_picture_and_one_that_is_none(page: Page, site: tuple[Server, Path], tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"no picture")
    page.locator("#choose").set_input_files(tmp_path / "x.png")
    expect(page.locator("#trouble")).to_have_text(re.compile("cannot be read"))
    page.locator("#choose").set_input_files(site[1] / "photos" / "003.jpg")
    expect(page.locator(".chip[data-kind=picture]")).to_be_visible()
    expect(page.locator("#trouble")).to_have_text("")


def test_a_query_that_cannot_be_read(page: Page) -> None:
    page.locator("#q").fill('"open')
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert").first).to_have_text(re.compile("a quote is left open"))


def test_words_are_completed(page: Page) -> None:
    page.locator("#q").press_sequentially("dog -bo")
    expect(page.locator("#words option").first).to_have_attribute("value", "dog -boat")


def test_keyboard_only(page: Page) -> None:
    page.keyboard.type("dog")
    page.keyboard.press("Enter")
    expect(page.locator(".chip")).to_have_count(1)
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('a.frame')"):
            break
    assert page.evaluate("document.activeElement.matches('a.frame')")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Picture")
    expect(dialog).to_be_visible()
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('.where')"):
            break
    expect(dialog.locator(".looks")).to_have_text(re.compile("“dog” looks at"))
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert page.evaluate("document.activeElement.matches('a.frame')")
    page.keyboard.press("/")
    expect(page.locator("#q")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()


def test_votes_re_rank_and_stay(page: Page) -> None:
    page.goto(page.url + "?q=dog+snow")
    low = page.locator(".tile").nth(40)
    id_ = int(low.evaluate("tile => tile.hit.id"))
    low.hover()
    low.get_by_role("button", name=re.compile("^fits")).click()
    expect(page.locator("[aria-pressed=true]")).to_have_count(1)
    assert ids(page).index(id_) < 40
    page.reload()
    expect(page.locator("[aria-pressed=true]")).to_have_count(1)
    page.locator("[aria-pressed=true]").click()
    expect(page.locator("[aria-pressed=true]")).to_have_count(0)
    assert ids(page).index(id_) == 40


def test_a_caption_by_hand(page: Page) -> None:
    tile = page.locator(".tile").nth(3)
    page.locator("a.frame").nth(3).click()
    dialog = page.get_by_role("dialog", name="Picture")
    dialog.get_by_text("Edit the caption").click()
    dialog.get_by_role("button", name="Write an XMP file").click()
    expect(dialog.get_by_role("status")).to_have_text(re.compile(r"^written: .*\.jpg\.xmp$"))
    dialog.locator("textarea").fill("a kite over the sea")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.locator(".made").first).to_have_text("written by hand")
    page.keyboard.press("Escape")
    expect(tile.locator(".caption")).to_have_text("a kite over the sea")


def test_a_box_on_the_map_is_a_search(page: Page, site: tuple[Server, Path]) -> None:
    page.goto(f"{site[0].address}map?left=boat&right=dog&top=snow")
    canvas = page.locator("#dots[data-count='70']")
    expect(canvas).to_be_visible()
    expect(page.locator(".east")).to_have_text("dog")
    box = canvas.bounding_box()
    assert box is not None
    right, bottom = box["x"] + box["width"], box["y"] + box["height"]
    page.mouse.move(box["x"] + 16, box["y"] + 8)
    page.mouse.down()
    page.mouse.move(right - 16, bottom - 8, steps=4)
    page.mouse.up()
    page.wait_for_url("**/?ids=*")
    expect(page.locator("#count")).to_have_text(re.compile(" of 70 pictures"))
    page.goto(f"{site[0].address}map?left=boat&right=dog&top=snow")
    expect(page.locator("#dots[data-count='70']")).to_be_visible()
    page.get_by_label("Across, percent from").fill("50")  # the same with the keyboard
    page.locator("input[name=x1]").fill("100")
    page.locator("input[name=y1]").fill("100")
    page.keyboard.press("Enter")
    page.wait_for_url("**/?ids=*")
    x_of = "async a => { const data = await (await fetch(a)).arrayBuffer();"
    x_of += " const n = data.byteLength / 16;"
    x_of += " const p = new Float32Array(data, 8 * n);"
    x_of += " return [...new Float64Array(data, 0, n)].map((id, i) => [id, p[2 * i]]); }"
    places = dict(page.evaluate(x_of, "/api/map?x=dog+-boat&y=snow"))
    inside = {*map(int, page.url.split("ids=")[1].split(","))}
    middle = (min(places.values()) + max(places.values())) / 2
    clear = {id_: place for id_, place in places.items() if abs(place - middle) > 0.02}
    assert inside and all((place > middle) == (id_ in inside) for id_, place in clear.items())


def test_the_library_screen_checks(page: Page, site: tuple[Server, Path]) -> None:
    page.goto(f"{site[0].address}library")
    page.get_by_role("button", name="Check the library").click()
    expect(page.locator("#found")).to_have_text("All is well with 70 pictures.")


def test_without_a_script(browser: Browser, site: tuple[Server, Path]) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(site[0].address_with_key)
    page.locator("#q").fill("dog")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("#count")).to_have_text("60 of 70 pictures")
    expect(page.locator(".tile")).to_have_count(60)
    page.get_by_role("link", name="Next 60").click()
    expect(page.locator(".tile")).to_have_count(10)
    page.locator("a.frame").first.click()
    expect(page.locator(".picture")).to_be_visible()
    page.get_by_role("link", name="More like this").click()
    expect(page.locator("#count")).to_have_text("60 of 70 pictures")
    context.close()


def test_another_site_gets_no_picture(browser: Browser, site: tuple[Server, Path]) -> None:
    """A page of another origin, in a browser that has the cookie, can show no thumbnail and read no API."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(site[0].address_with_key)
    page.goto("data:text/html,<title>elsewhere</title>")
    shown = page.evaluate(
        "address => new Promise(done => { const i = new Image(); i.onload = () => done(true);"
        " i.onerror = () => done(false); i.src = address; })",
        f"{site[0].address}thumb/1",
    )
    assert shown is False
    read = page.evaluate(
        "a => fetch(a, {credentials: 'include'}).then(() => true, () => false)", f"{site[0].address}api/info"
    )
    assert read is False
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("address", ["", "?q=dog+boatt&sort=newest", "p/1?q=dog", "p/999", "map", "time", "library"])
def test_accessibility(browser: Browser, site: tuple[Server, Path], scheme: str, address: str) -> None:
    """No violation of axe-core's rules, contrast included."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    context = browser.new_context(color_scheme="dark" if scheme == "dark" else "light", bypass_csp=True)
    page = context.new_page()
    page.goto(site[0].address_with_key)
    page.goto(site[0].address + address)
    page.wait_for_load_state("networkidle")
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    if address.startswith("?"):
        page.locator("a.frame").first.click()
        expect(page.locator("dialog .picture")).to_be_visible()
        page.wait_for_load_state("networkidle")
        found = axe.Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
    context.close()
