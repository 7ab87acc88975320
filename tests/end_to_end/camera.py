"""A camera for the documents: small pictures, and films that are animated WebP."""

import io
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Final

from PIL import Image, ImageDraw
from playwright.sync_api import Browser, Locator, Page, ViewportSize

from local.programs import Web, Worker
from tests.client import Client
from tests.end_to_end.browser import Person, Tab
from tests.rig import Rig

#: Colours of a picture: enough for the page, whose files then have a third of the size.
COLOURS: Final = 192
#: Of 100; the page's letters are sharp from here on.
QUALITY: Final = 68
TALL: Final[ViewportSize] = {"width": 1180, "height": 900}
DESK: Final[ViewportSize] = {"width": 1180, "height": 740}
WIDE: Final = {"viewport": DESK}
PHONE: Final = {
    "viewport": {"width": 390, "height": 780},
    "device_scale_factor": 2,
    "has_touch": True,
    "is_mobile": True,
}


class Camera:
    """Takes pictures and stores them in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def take(self, tab: Tab, name: str) -> None:
        """Take a picture of a tab."""
        tab.page.wait_for_timeout(400)
        path = self.folder / f"{name}.png"
        few = shot(tab.page).quantize(
            COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE
        )
        few.save(path, optimize=True)
        report(path)


@dataclass
class Set:
    """Everything that a picture needs: a camera, a browser, and the service."""

    camera: Camera
    browser: Browser
    rig: Rig
    #: of every process
    env: dict[str, str]
    web: Web
    #: the one that writes; a film kills it and puts another one here
    worker: Worker
    client: Client

    def person(self, **options: object) -> Person:
        """A person at the page, wide unless it is said otherwise."""
        return Person.of(self.browser, self.web.url, **WIDE | options)


@dataclass
class Screen:
    """Where a window stands on the stage, in CSS pixels, and what its title says."""

    left: int
    width: int
    height: int
    title: str = "Outlive"
    #: what its title says while nothing is open in it
    without: str = "News of the day"


@dataclass
class Film:
    """Frames, each with its time: windows on a stage, and a sentence below them."""

    browser: Browser
    screens: tuple[Screen, ...]
    scale: float = 2
    frames: list[tuple[Image.Image, int]] = field(default_factory=list)
    _stages: dict[str, Image.Image] = field(default_factory=dict)

    @property
    def _size(self) -> tuple[int, int]:
        height = max(one.height for one in self.screens)
        return max(one.left + one.width for one in self.screens), TITLE + height + WORDS

    def shoot(self, words: str, ms: int, *tabs: Tab | None, pressed: Locator | None = None) -> None:
        """Add a frame of these tabs, one for each screen; `pressed`: what is pressed in the first.

        None is a tab that is closed: something else stands there.
        """
        frame = self._stage(words, *tabs).copy()
        for screen, tab in zip(self.screens, tabs, strict=True):
            if tab is not None:
                at = (round(screen.left * self.scale), round(TITLE * self.scale))
                frame.paste(shot(tab.page), at)
        if pressed is not None:
            frame = self._marked(frame, pressed)
        self.frames.append((frame, ms))

    def _stage(self, words: str, *tabs: Tab | None) -> Image.Image:
        key = words + "".join("-" if tab is None else "+" for tab in tabs)
        if key not in self._stages:
            width, height = self._size
            page = self.browser.new_page(
                viewport={"width": width, "height": height}, device_scale_factor=self.scale
            )
            windows = map(_window, self.screens, tabs)
            page.set_content(STAGE.substitute(words=words, windows="".join(windows)))
            self._stages[key] = shot(page)
            page.close()
        return self._stages[key]

    def _marked(self, frame: Image.Image, pressed: Locator) -> Image.Image:
        box = pressed.bounding_box()
        assert box
        x = (self.screens[0].left + box["x"] + min(box["width"] / 2, 60)) * self.scale
        y = (TITLE + box["y"] + box["height"] / 2) * self.scale
        veil = Image.new("RGBA", frame.size)
        radius = 15 * self.scale
        ImageDraw.Draw(veil).ellipse(
            (x - radius, y - radius, x + radius, y + radius),
            fill=(198, 91, 40, 70),
            outline=(198, 91, 40, 230),
            width=round(1.5 * self.scale),
        )
        return Image.alpha_composite(frame.convert("RGBA"), veil).convert("RGB")

    def store(self, path: Path) -> None:
        """Write the film, which repeats."""
        first, *rest = [frame for frame, _ in self.frames]
        first.save(
            path,
            save_all=True,
            append_images=rest,
            duration=[ms for _, ms in self.frames],
            loop=0,
            quality=QUALITY,
            method=4,
            minimize_size=True,
        )
        report(path)


def shot(page: Page) -> Image.Image:
    """What a page shows."""
    return Image.open(io.BytesIO(page.screenshot(animations="disabled"))).convert("RGB")


def report(path: Path) -> None:
    """Print what was stored."""
    print(f"{path} {path.stat().st_size // 1000} kB", flush=True)


#: Heights of what is above and below the windows, in CSS pixels.
TITLE: Final = 38
WORDS: Final = 42
STAGE: Final = Template("""<style>
body { margin: 0; background: #dcd7cb; font: 15px -apple-system, "Noto Sans", sans-serif }
.title { position: absolute; top: 8px; padding: 6px 18px; border-radius: 9px 9px 0 0;
  background: #fbfaf7; color: #23211d }
.none { position: absolute; top: 38px; background: #e6e1d5 }
p { position: absolute; bottom: 0; width: 100%; margin: 0; line-height: 42px;
  text-align: center; color: #57524a }
</style>
<body>$windows<p>$words</p></body>""")


def _window(screen: Screen, tab: Tab | None) -> str:
    title = screen.title if tab else screen.without
    return (
        f'<div class="title" style="left:{screen.left + 12}px">{title}</div>'
        f'<div class="none" style="left:{screen.left}px; width:{screen.width}px;'
        f' height:{screen.height}px"></div>'
    )
