"""The page in a real browser against the real platform."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request

import pytest
from playwright.async_api import Page, expect

from drivers.base import Quality, Value
from tests.ui.ui_platform import Platform, Visit

pytestmark = pytest.mark.asyncio(loop_scope="module")
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
ROW = ".row[data-id$=':{}']"

CANVAS_COLOURS = """() => {
  const canvas = document.querySelector("#chart canvas");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const count = {};
  for (let i = 0; i < data.length; i += 4) {
    if (data[i + 3] < 255) continue;
    const key = `${data[i]},${data[i + 1]},${data[i + 2]}`;
    count[key] = (count[key] ?? 0) + 1;
  }
  return Object.fromEntries(Object.entries(count).filter(([, n]) => n > 200));
}"""
SWATCHES = """() => [...document.querySelectorAll("#power-legend .swatch")].map((node) =>
  getComputedStyle(node).backgroundColor.match(/\\d+/g).slice(0, 3).join(","))"""


async def send(platform: Platform, device: str, quality: Quality = Quality.GOOD, **values: Value) -> None:
    await asyncio.to_thread(lambda: platform.send(device, 0.0, quality, **values))


async def background(page: Page) -> str:
    return str(await page.evaluate("getComputedStyle(document.body).backgroundColor"))


async def test_values_with_unit_place_and_age(platform: Platform, visit: Visit) -> None:
    platform.fill()
    page = await visit.open()
    await expect(page.locator("#headline-text")).to_have_text("All is well")
    meter = page.locator(ROW.format("main-meter"))
    await expect(meter).to_contain_text("Main board")
    await expect(meter.locator(".chips")).to_contain_text("412\u202fW")
    await expect(meter.locator("summary .row-age")).to_have_text("2 s")
    await expect(meter.locator(".evidence")).to_have_text("one source")
    await expect(page.locator(ROW.format("test-bike")).locator(".evidence")).to_be_hidden()
    await expect(meter.locator(".state")).to_have_text("Live")
    await meter.locator("summary").click()
    await expect(meter.locator(".all")).to_contain_text("Voltage L1230.1\u202fV")
    await expect(page.locator("#climate")).to_contain_text("Humidity 47\u202f% · Pressure 1,009\u202fhPa")
    await expect(page.locator("#dust .tile-word")).to_have_text("Fair")
    await expect(page.locator("#bicycles")).to_contain_text("18.4\u202fkm/h")
    await expect(page.locator("#bicycles")).to_contain_text("Cadence 62\u202frpm")
    gateway = page.locator("#gateways")
    for fact in ("Devices up6 of 6", "Waiting to be sent12oldest 3 s", "Readings made12,345", "Dropped0"):
        await expect(gateway).to_contain_text(fact)


async def test_values_arrive_without_reload(platform: Platform, visit: Visit) -> None:
    platform.fill()
    page = await visit.open()
    await page.evaluate("window.sameDocument = true")
    await send(platform, "main-meter", active_power_total=1777.0)
    await expect(page.locator(ROW.format("main-meter"))).to_contain_text("1,777\u202fW")
    await expect(page.locator("#power-total")).to_have_text("1,777\u202fW")
    await send(platform, "classroom-co2", co2=799, quality=Quality.SUSPECT)
    await expect(page.locator(ROW.format("classroom-co2")).locator("summary .flag")).to_have_text("suspect: jump")
    await send(platform, "gateway", devices_up=5)
    await expect(page.locator("#headline-text")).to_have_text("1 device does not answer")
    assert await page.evaluate("window.sameDocument")


async def test_a_device_that_stops_is_late_then_silent(platform: Platform, visit: Visit) -> None:
    platform.send("corridor-climate", ago_s=60, temperature=20.0)
    platform.send("main-meter", ago_s=600, active_power_total=300.0)
    page = await visit.open()
    await expect(page.locator(ROW.format("corridor-climate")).locator(".state")).to_have_text("Late")
    await expect(page.locator(ROW.format("main-meter")).locator(".state")).to_have_text("Silent")
    await expect(page.locator("#headline-text")).to_have_text("Main meter is silent")


@pytest.mark.parametrize(
    ("ppm", "lamp", "word", "headline"),
    [
        (640, 0, "Fresh air", "All is well"),
        (1000, 1, "Air the room", "Air the room: Classroom 2b"),
        (2001, 2, "Air the room now", "Air the room now: Classroom 2b"),
    ],
)
async def test_co2_light(platform: Platform, visit: Visit, ppm: int, lamp: int, word: str, headline: str) -> None:
    platform.send("classroom-co2", co2=ppm)
    page = await visit.open()
    await expect(page.locator(".light-word")).to_have_text(word)
    await expect(page.locator("#headline-text")).to_have_text(headline)
    await expect(page.locator(".lamp[data-on]")).to_have_count(1)
    lit = page.locator(f".lamp[data-lamp='{lamp}']")
    await expect(lit).to_have_css(
        "background-color", ["rgb(47, 178, 111)", "rgb(242, 167, 27)", "rgb(226, 69, 58)"][lamp]
    )


async def test_power_bands_are_drawn_and_can_be_read(platform: Platform, visit: Visit) -> None:
    platform.fill()
    page = await visit.open()
    chart = page.locator("#chart")
    await expect(chart).to_have_attribute("data-bands", "fridge,heat_pump,other")
    assert int(await chart.get_attribute("data-points") or 0) > 200
    swatches, painted = await page.evaluate(SWATCHES), await page.evaluate(CANVAS_COLOURS)
    assert len(swatches) == 3
    for swatch in swatches:
        assert painted.get(swatch, 0) > 200, f"no band in {swatch}: {painted}"
    await expect(page.locator("#power-legend")).to_contain_text("Fridge90\u202fW")
    await expect(page.locator("#power-legend")).to_contain_text("Heat pumpoff")
    box = await chart.bounding_box()
    assert box is not None
    await page.mouse.move(box["x"] + 46 + (box["width"] - 46) * 0.53, box["y"] + 90)
    await expect(page.locator("#power-when")).to_contain_text("At ")
    await expect(page.locator("#power-total")).to_have_text("2,400\u202fW")
    await expect(page.locator("#power-legend")).to_contain_text("Heat pump2,000\u202fW")
    await page.mouse.move(2, 2)
    await expect(page.locator("#power-when")).to_have_text("Now")
    await chart.focus()
    await page.keyboard.press("Home")
    await expect(page.locator("#power-total")).to_have_text("400\u202fW")


async def test_connection_lost_and_back(platform: Platform, visit: Visit) -> None:
    platform.fill()
    page = await visit.open()
    await asyncio.to_thread(platform.stop)
    await expect(page.locator("#banner")).to_contain_text("Connection lost, last data ")
    await expect(page.locator("#headline-text")).to_have_text("The platform does not answer")
    await expect(page.locator(ROW.format("main-meter")).locator(".state")).to_have_text("Unknown")
    await asyncio.to_thread(platform.start)
    await send(platform, "main-meter", active_power_total=555.0)
    await expect(page.locator("#banner")).to_be_hidden()
    await expect(page.locator(ROW.format("main-meter"))).to_contain_text("555\u202fW")
    await expect(page.locator("#headline-text")).to_have_text("All is well")
    failures = [text for text in visit.complaints if "net::ERR_" not in text]
    visit.complaints[:] = failures  # the browser itself reports the refused connections


@pytest.mark.parametrize("visit", [PHONE], indirect=True)
async def test_phone(platform: Platform, visit: Visit) -> None:
    platform.fill()
    platform.send("classroom-co2", co2=1444, quality=Quality.SUSPECT)
    page = await visit.open()
    await expect(page.locator("#power-legend li")).to_have_count(3)
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360
    room, power = await page.locator(".room").bounding_box(), await page.locator("#power").bounding_box()
    assert room is not None and power is not None
    assert room["y"] < power["y"], "on a phone the air of the room comes first"
    await page.locator("#chart").tap()
    await expect(page.locator("#power-when")).to_contain_text("At ")


async def test_light_and_dark(platform: Platform, visit: Visit) -> None:
    platform.fill()
    await visit.page.emulate_media(color_scheme="light", reduced_motion="reduce")
    page = await visit.open()
    light = await background(page)
    await page.emulate_media(color_scheme="dark")
    await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    dark = await background(page)
    assert light != dark
    await page.locator("#theme").click()
    assert await background(page) == light
    await page.reload()
    assert await background(page) == light, "the choice is kept"
    assert await page.evaluate("getComputedStyle(document.querySelector('.live-dot')).animationName") == "none"


async def test_a_platform_without_data_says_what_to_do(platform: Platform, visit: Visit) -> None:
    page = await visit.open()
    await expect(page.locator("#headline-text")).to_have_text("No data yet")
    await expect(page.locator("#empty-config")).to_contain_text(f"url: {platform.url}")
    await expect(page.locator("#grid")).to_be_hidden()
    await send(platform, "test-bike", speed=0.0)
    await expect(page.locator("#bicycles")).to_contain_text("standing")
    await expect(page.locator("#empty")).to_be_hidden()


@pytest.mark.parametrize("platform", ["a-token-of-twenty-four"], indirect=True)
async def test_a_platform_with_a_token_asks_for_it(platform: Platform, visit: Visit) -> None:
    platform.fill()
    page = visit.page
    await page.goto(platform.url)
    await expect(page.locator("#headline-text")).to_have_text("Who are you?")
    await page.get_by_label("Token").fill("wrong")
    await page.keyboard.press("Enter")
    await expect(page.locator("#token-note")).to_have_text("That is not the token of this platform.")
    await page.get_by_label("Token").fill("a-token-of-twenty-four")
    await page.keyboard.press("Enter")
    await expect(page.locator(ROW.format("main-meter"))).to_contain_text("412\u202fW")
    await expect(page.locator("#token")).to_be_hidden()
    await page.reload()
    await expect(page.locator("#headline-text")).to_have_text("All is well")
    assert all("401" in text for text in visit.complaints)
    visit.complaints.clear()  # the browser itself reports what was refused


async def test_two_sites_can_be_chosen(platform: Platform, visit: Visit) -> None:
    platform.fill()
    at = {"type": "Property", "value": 15.5, "unitCode": "CEL", "observedAt": "2026-01-01T00:00:00Z"}
    core = "https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context-v1.9.jsonld"
    platform.post([{"id": "urn:ngsi-ld:Shed:yard:shed", "type": "Shed", "@context": core, "temperature": at}])
    page = await visit.open()
    await expect(page.locator("#devices .row")).to_have_count(5)
    await page.locator("#site-select").select_option("yard")
    await expect(page.locator("#devices .row")).to_have_count(1)
    await expect(page.locator("#devices")).to_contain_text("15.5\u202f°C")


@pytest.mark.parametrize(
    "path",
    ["/static/../assets.py", "/static/%2e%2e/assets.py", "/static/..%2fassets.py", "/static//etc/passwd", "/static/"],
)
async def test_nothing_but_the_known_files(platform: Platform, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(platform.url + path, timeout=10)
    assert refused.value.code in (400, 404)


async def test_caching_and_policy(platform: Platform) -> None:
    with urllib.request.urlopen(f"{platform.url}/", timeout=10) as response:
        assert response.headers["Content-Security-Policy"].startswith("default-src 'self';")
        etag = response.headers["ETag"]
    again = urllib.request.Request(f"{platform.url}/", headers={"If-None-Match": etag})
    with pytest.raises(urllib.error.HTTPError) as answer:
        urllib.request.urlopen(again, timeout=10)
    assert answer.value.code == 304


async def test_wrong_parameters_are_refused(platform: Platform) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{platform.url}/api/console/power?minutes=soon", timeout=10)
    assert refused.value.code == 400
    assert refused.value.headers["Content-Type"] == "application/problem+json"
