"""Makes the pictures of the guide. docs/tree.png, that of the README too, and docs/spread.svg: the
demo family is grown, its page photographed, and a part of it drawn. docs/window.png: the explorer
over 200,000 made-up organisms.

    .venv/bin/python docs/pictures.py
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import sync_playwright

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))

import lineage  # noqa: E402
from bench import generate  # noqa: E402

COMMAND = [sys.executable, str(DOCS.parent / "cli.py")]
SPREAD = ["tree", "moss", "--niche", "code/bpc", "--layout", "spread"]
MANY = 200_000
FLAGS = ["--no-sandbox", "--disable-gpu", "--hide-scrollbars"]


def photograph(address: str, picture: Path, chromium: str, density: float) -> None:
    """The page at 1400 x 900 on a screen of higher density, once its plot is there."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        tab = browser.new_page(viewport={"width": 1400, "height": 900}, device_scale_factor=density)
        tab.goto(address)
        tab.wait_for_selector("#panel canvas")
        tab.wait_for_timeout(1000)
        tab.screenshot(path=picture)
        browser.close()
    print(picture)


def explored(folder: str, chromium: str) -> None:
    path = Path(folder) / "large.db"
    generate.write(path, generate.organisms(MANY))
    with lineage.open(path, create=False) as registry:
        registry.refresh_snapshot()
    view = [*COMMAND, "view", "--no-browser", "--db", str(path)]
    with subprocess.Popen(view, stdout=subprocess.PIPE, text=True) as explorer:
        assert explorer.stdout
        photograph(explorer.stdout.readline().strip(), DOCS / "window.png", chromium, 1.25)
        explorer.terminate()


def main() -> None:
    chromium = os.environ.get("LINEAGE_TEST_CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        sys.exit("no Chromium: `apt install chromium`, or set LINEAGE_TEST_CHROMIUM to its path.")
    with TemporaryDirectory() as folder:
        subprocess.run([*COMMAND, "demo", folder], check=True, stdout=subprocess.DEVNULL)
        page = (Path(folder) / "family.html").as_uri()
        photograph(f"{page}#at=fern-mix-tuned", DOCS / "tree.png", chromium, 1.5)
        drawn = [*SPREAD, "--output", str(DOCS / "spread.svg"), "--db", f"{folder}/registry.db"]
        subprocess.run([*COMMAND, *drawn], check=True)
        explored(folder, chromium)


if __name__ == "__main__":
    main()
