"""The page's files: no way from data to markup, nothing foreign, colours that can be read."""

from __future__ import annotations

import re

import pytest

from labelwise.studio.page import INDEX, POLICY, static_files

FILES = {name: content.decode() for name, (content, _) in static_files().items()}
SCRIPTS = {name: text for name, text in FILES.items() if name.endswith(".js")}
LIGHT, DARK = FILES["theme.css"].split("@media (prefers-color-scheme: dark)")
MIN_CONTRAST = 4.5  # WCAG 2.2, level AA, for text


def colours(css: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]{6})", css))


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def mixed(one: str, other: str, share: float) -> str:
    pairs = [(int(one[i : i + 2], 16), int(other[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(a * share + b * (1 - share)):02x}" for a, b in pairs)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("text", "ground"),
    [
        ("ink", "ground"), ("ink", "surface"), ("ink", "sunken"), ("ink-soft", "ground"),
        ("ink-soft", "surface"), ("ink-soft", "sunken"), ("ink", "raised"), ("ink-soft", "raised"),
        ("accent-ink", "accent"),
        ("accent", "surface"), ("accent", "accent-soft"), ("good", "sunken"), ("bad", "bad-soft"),
        ("bad", "surface"), *((f"c{i}-ink", f"c{i}-ground") for i in range(12)),
        *(("ink", f"c{i}-ground") for i in range(12)),
    ],
)  # fmt: skip
def test_text_can_be_read_on_its_ground(theme: str, text: str, ground: str) -> None:
    found = colours(LIGHT) | colours(theme)
    assert contrast(found[text], found[ground]) >= MIN_CONTRAST


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_labels_of_suggestions_can_be_read_on_the_fainter_ground(theme: str) -> None:
    found = colours(LIGHT) | colours(theme)
    for i in range(12):
        ground = mixed(found[f"c{i}-ground"], found["surface"], 0.55)
        assert contrast(found[f"c{i}-ink"], ground) >= MIN_CONTRAST


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_have_no_way_from_a_string_to_markup_or_code(name: str) -> None:
    banned = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser"
    )
    assert not re.search(banned, SCRIPTS[name])


@pytest.mark.parametrize("name", FILES)
def test_no_file_names_another_host(name: str) -> None:
    links = re.findall(
        r"(?:https?:)?//[\w.-]+\.\w+[^\s\"']*", re.sub(r"(?m)^\s*//.*$", "", FILES[name])
    )
    assert [link for link in links if "www.w3.org/2000/svg" not in link] == []


def test_the_page_has_no_inline_scripts_styles_or_handlers() -> None:
    page = FILES[INDEX]
    assert "style=" not in page
    assert "<style" not in page
    assert not re.search(r"\son\w+=", page)
    assert re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL) == [""]
    assert "'unsafe" not in POLICY


def test_modules_import_only_files_that_are_there() -> None:
    for name, script in SCRIPTS.items():
        for target in re.findall(r'from "\./([\w.]+)"', script):
            assert target in FILES, f"{name} imports {target}"


def test_offsets_are_converted_in_one_place() -> None:
    for name, script in SCRIPTS.items():
        if name != "offsets.js":
            assert "codePointAt" not in script
            assert "charCodeAt" not in script
