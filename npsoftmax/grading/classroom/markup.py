"""HTML that escapes by construction: whatever is no `Markup` is text, and what students write is never markup."""

from __future__ import annotations

import html
import re

# In every page: what is dark on light is light on dark where the reader's system asks for it; states differ in
# lightness and in their sign, not in colour alone.
STYLE = """
:root { color-scheme: light dark; --ink: #1d2329; --quiet: #59636e; --page: #fff; --line: #d8dde3; --rule: #8a949e;
  --soft: #f3f5f7; --link: #0550ae; --passed: #1f6feb; --passed-ink: #fff; --wrong: #ffd08a; --wrong-ink: #5c2c00;
  --none: #f3f5f7; --none-ink: #59636e; --bar: #1f6feb; --flag: #fff4d6; --flag-line: #bf8700; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --quiet: #a3adb8; --page: #15191e; --line: #343b43;
  --rule: #78828c; --soft: #1e242a; --link: #7ab7ff; --passed: #2f6fd0; --passed-ink: #fff; --wrong: #e0a458;
  --wrong-ink: #2b1500; --none: #1e242a; --none-ink: #a3adb8; --bar: #4c93f5; --flag: #2d2510; --flag-line: #d4a72c; } }
@media print { :root { color-scheme: light; --ink: #000; --page: #fff; } .wide { overflow: visible; } }
* { box-sizing: border-box; }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--page); margin: 0 auto;
  max-width: 80rem; padding: 1rem clamp(1rem, 3vw, 2.5rem) 4rem; overflow-wrap: anywhere; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 1rem 0 .25rem; }
h2 { font-size: 1.25rem; margin: 3rem 0 .5rem; padding-top: .75rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.5rem 0 .25rem; }
p, li, dd { max-width: 46rem; } p { margin: .5rem 0; } .quiet { color: var(--quiet); font-size: .9rem; }
a { color: var(--link); } a:focus-visible, .wide:focus-visible, summary:focus-visible { outline: 3px solid var(--link);
  outline-offset: 2px; }
code, pre { font: .875rem/1.5 ui-monospace, "Cascadia Mono", Menlo, Consolas, monospace; }
pre { background: var(--soft); padding: .75rem 1rem; overflow-x: auto; border-radius: 6px; overflow-wrap: normal; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
caption { text-align: left; color: var(--quiet); padding: .25rem 0; }
th, td { padding: .3rem .6rem; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
tbody th { font-weight: 400; min-width: 12rem; }
thead th { border-bottom: 2px solid var(--rule); vertical-align: bottom; } .n { text-align: right; }
.wide { overflow-x: auto; max-width: 100%; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .75rem; padding: 0;
  margin: 1.25rem 0; list-style: none; }
.tiles li { background: var(--soft); border-radius: 8px; padding: .6rem .9rem; } .tiles b { display: block;
  font-size: 1.5rem; line-height: 1.3; }
.s { display: inline-block; min-width: 1.4rem; text-align: center; border-radius: 4px; padding: 0 .2rem; }
.passed { background: var(--passed); color: var(--passed-ink); }
.wrong { background: var(--wrong); color: var(--wrong-ink); }
.none { background: var(--none); color: var(--none-ink); }
.flag { background: var(--flag); border-left: 4px solid var(--flag-line); padding: .5rem .9rem; margin: .6rem 0;
  border-radius: 0 6px 6px 0; max-width: 50rem; }
.flag p { margin: .15rem 0; }
.bar { display: inline-block; width: 8rem; height: .7rem; background: var(--soft); border: 1px solid var(--rule);
  vertical-align: middle; } .bar i { display: block; height: 100%; background: var(--bar); }
summary { cursor: pointer; }
@media (max-width: 40rem) { .stack, .stack tbody, .stack tr, .stack td, .stack tbody th,
  .stack caption { display: block; }
  .stack thead { display: none; } .stack tr { border-bottom: 1px solid var(--line); padding: .5rem 0; }
  .stack td, .stack tbody th { border: 0; padding: .1rem 0; text-align: left; } .stack td:empty { display: none; }
  .stack td::before { content: attr(data-label) ": "; color: var(--quiet); } }
"""


class Markup(str):
    """Text that is HTML already."""


def text(value: object) -> Markup:
    """A value as text; markup as it is. Signs that a page cannot hold are shown as such."""
    if isinstance(value, Markup):
        return value
    shown = re.sub(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", str(value))
    return Markup(html.escape(shown, quote=True))


def tag(name: str, *inside: object, **attributes: object) -> Markup:
    """<name …>inside</name>; `class_` is class, and an attribute that is None is left out."""
    shown = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{shown}>{joined(*inside)}</{name}>")


def joined(*parts: object) -> Markup:
    """The parts, one after the other."""
    return Markup("".join(text(part) for part in parts if part is not None))


def table(head: list[str], lines: list[list[object]], caption: str, numbers: frozenset[int] = frozenset()) -> Markup:
    """A table that scrolls by itself, by keyboard too, where it is too wide; on a
    phone each line is a paragraph. numbers: columns that are numbers."""

    def cell(i: int, value: object) -> Markup:
        style = "n" if i in numbers else None
        if i == 0:
            return tag("th", value, class_=style, scope="row", role="rowheader")
        return tag("td", value, class_=style, role="cell", data_label=head[i])

    titles = (tag("th", title, class_="n" if i in numbers else None, scope="col") for i, title in enumerate(head))
    body = (tag("tr", *(cell(i, value) for i, value in enumerate(line)), role="row") for line in lines)
    parts = (tag("caption", caption), tag("thead", tag("tr", *titles)), tag("tbody", *body, role="rowgroup"))
    return wide(tag("table", *parts, class_="stack", role="table"), caption)


def wide(inside: Markup, label: str) -> Markup:
    """What scrolls sideways by itself."""
    return tag("div", inside, class_="wide", tabindex="0", role="region", aria_label=label)


def page(title: str, *body: Markup, style: str = "") -> str:
    """A whole page that needs nothing else."""
    head = joined(
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup(
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        ),
        tag("title", title),
        Markup(f"<style>{STYLE}{style}</style>"),
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{tag("main", *body)}\n</body></html>\n'
