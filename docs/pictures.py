"""Makes docs/tree.png, the picture in the README, and docs/spread.svg: the demo family is grown,
its page photographed, and a part of it drawn.

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
SPREAD = ["tree", "moss", "--niche", "code/bpc", "--layout", "spread"]
SEEN = "#at=fern-mix-tuned"
FLAGS = ["--no-sandbox", "--disable-gpu", "--hide-scrollbars"]


def photograph(page: Path, picture: Path, chromium: str) -> None:
    """The page at 1400 x 900 on a screen of higher density."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        tab = browser.new_page(viewport={"width": 1400, "height": 900}, device_scale_factor=1.5)
        tab.goto(page.as_uri() + SEEN)
        tab.wait_for_selector("[data-ready]", state="attached")
        tab.wait_for_timeout(500)
        tab.screenshot(path=picture)
        browser.close()


def main() -> None:
    chromium = os.environ.get("LINEAGE_TEST_CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        sys.exit("no Chromium: `apt install chromium`, or set LINEAGE_TEST_CHROMIUM to its path.")
    with TemporaryDirectory() as folder:
        command = [sys.executable, str(DOCS.parent / "cli.py"), "demo", folder]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        photograph(Path(folder) / "family.html", DOCS / "tree.png", chromium)
        drawn = [*SPREAD, "--output", str(DOCS / "spread.svg"), "--db", f"{folder}/registry.db"]
        subprocess.run([sys.executable, str(DOCS.parent / "cli.py"), *drawn], check=True)
    print(DOCS / "tree.png")


if __name__ == "__main__":
    main()
