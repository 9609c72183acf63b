"""How the page looks: light and dark as the reader's system has it, on a desk and on a phone."""

import base64
from hashlib import sha256

from turnout.inspection.markup import Markup, joined, tag

HEATS = "".join(f".h{step}{{background:rgba(34,85,136,{step / 10:.1f})}}" for step in range(1, 11))
"""Of a blue so dark that at each step one of the two inks stands out at 4.5 to 1."""
STYLE = (
    """
:root{color-scheme:light dark;--page:#fff;--ink:#1c1e21;--faint:#5c636b;--line:#d5d9de;
--soft:#f4f6f8;--warn:#8a4b00;--high:#fff}
@media (prefers-color-scheme:dark){:root{--page:#15181b;--ink:#e8eaed;--faint:#a3abb3;
--line:#3a4046;--soft:#1e2226;--warn:#ffb366;--high:#fff}.mel{filter:invert(1)}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1rem;max-width:80rem;background:var(--page);color:var(--ink);
font:1rem/1.5 system-ui,sans-serif}
h1{font-size:1.5rem;line-height:1.25;margin:.5rem 0}
h2{font-size:1.2rem;margin:2.2rem 0 .3rem;border-top:1px solid var(--line);padding-top:1rem}
h3{font-size:1rem;margin:1rem 0 .3rem}
p,li{max-width:46rem}p{margin:.3rem 0 .6rem}.faint,figcaption{color:var(--faint)}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));gap:0 2rem}
.pair>*{min-width:0}
.scroll{overflow-x:auto;margin:.5rem 0 1rem;max-width:100%}
.scroll:focus-visible{outline:2px solid #4477aa}
table{border-collapse:collapse;font-size:.875rem}
th,td{padding:.2rem .55rem;border-bottom:1px solid var(--line);text-align:left;font-weight:400;
white-space:nowrap}
tbody th{white-space:normal;min-width:3rem}tbody th:has(.key){white-space:nowrap}
.parts{display:block;font-size:.75rem;color:var(--faint)}
thead th{font-weight:600;vertical-align:bottom}
.n{text-align:right;font-variant-numeric:tabular-nums}
.bar{display:block;width:9rem;height:.9rem}
.key{display:inline-block;width:.8em;height:.8em;margin-right:.3em;vertical-align:-.05em}
ul.keys{list-style:none;padding:0;margin:.3rem 0;display:flex;flex-wrap:wrap;gap:.1rem 1rem}
figure{margin:1.2rem 0}figcaption{font-size:.875rem;max-width:46rem}
figure.table .scroll{margin-top:.2rem}
.timeline{display:block}.timeline text{fill:var(--ink);font:12px system-ui,sans-serif}
.timeline text.small{fill:var(--faint);font-size:11px}
.timeline line{stroke:var(--line)}.timeline .gap{stroke:var(--page);stroke-width:2}
.timeline .word{stroke:var(--ink);stroke-width:2}.choice{image-rendering:pixelated}
.warn{color:var(--warn)}.note{background:var(--soft);padding:.6rem .9rem;border-radius:.4rem}
details{margin:.3rem 0 1rem}summary{cursor:pointer;color:var(--faint)}
@media print{.scroll{overflow:visible}}
"""
    + HEATS
    + ".h8,.h9,.h10{color:var(--high)}\n"
)


def policy() -> str:
    """What the page may load: its own style and the pictures inside it, and nothing else."""
    digest = base64.b64encode(sha256(STYLE.encode()).digest()).decode()
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )


def document(title: str, *body: object) -> str:
    """A whole page with this style, that may load nothing else."""
    head = joined(
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy()),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Markup(STYLE)),
    )
    main = tag("body", tag("main", *body))
    return f"<!doctype html>\n{tag('html', tag('head', head), main, lang='en')}\n"
