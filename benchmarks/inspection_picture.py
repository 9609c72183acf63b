"""Sections of a page of `turnout inspect`, as the README shows them.

    turnout inspect sentences.jsonl.gz --model OMNI --compare SWITCH -o looked
    scripts/bench inspection_picture looked/routing.html "Do the layers agree?" \
        -o docs/images/agreement.png

Needs Chromium and its driver.
"""

import argparse
import base64
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.page.chromium import MISSING, Browser, opened, programs  # noqa: E402

BOX = """
const box = arguments[0].getBoundingClientRect();
return [box.x + scrollX, box.y + scrollY, box.width, box.height];
"""
MARGIN, SCALE = 12, 1.5


def taken(page: Browser, url: str, title: str, picture: Path) -> None:
    """Write the section of a title."""
    page.desk()
    page.driver.get(url)
    found = page.driver.find_elements("xpath", f'//section[h2[normalize-space()="{title}"]]')
    if not found:
        known = ", ".join(one.text for one in page.all("section h2"))
        sys.exit(f"{url} has no section {title}: choose from {known}")
    # However high it is: an element's own screenshot ends with the window.
    left, top, width, height = page.run(BOX, found[0])
    margins = {"x": left - MARGIN, "y": top, "width": width + 2 * MARGIN, "height": height + MARGIN}
    asked = {"clip": {**margins, "scale": SCALE}, "captureBeyondViewport": True}
    shot = page.driver.execute_cdp_cmd("Page.captureScreenshot", asked)
    picture.write_bytes(base64.b64decode(shot["data"]))
    print(picture)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("page", type=Path, help="routing.html")
    parser.add_argument("section", help="its title")
    parser.add_argument("-o", "--output", type=Path, required=True, help="PNG")
    arguments = parser.parse_args()
    found = programs() or sys.exit(MISSING)
    with (
        TemporaryDirectory() as name,
        opened(found, Path(name), arguments.page) as page,
    ):
        url = arguments.page.resolve().as_uri()
        taken(page, url, arguments.section, arguments.output)


if __name__ == "__main__":
    main()
