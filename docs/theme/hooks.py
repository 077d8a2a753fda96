"""What MkDocs does not do by itself: pages from all over the repository, links between them, formulas, a reference.

Design: the Markdown is written for readers of the repository, and a link in it is a path in the repository. Here each
such path becomes a page of the site: Markdown is a page anyway, and any other file that is linked gets a page that
shows it. So no link needs an address on the web, and one that leads nowhere fails the build. Formulas become MathML
while the site is built: a browser needs no program and nothing from elsewhere to show them.
"""

from __future__ import annotations

import ast
import html
import posixpath
import re
from pathlib import Path

from math_core import LatexToMathML
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "npsoftmax"
# Path in the repository -> page of the site; docs/x.md is x.md.
ELSEWHERE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
}
ASSIGNMENTS = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("assignments/*/README.md"))
ELSEWHERE |= {path: path for path in ASSIGNMENTS}
REFERENCE = ("functional", "layers", "heads", "models", "training", "data", "gradcheck", "metrics", "estimators")
LANGUAGES = {".py": "python", ".pyx": "cython", ".pxd": "cython", ".cu": "cuda", ".toml": "toml"}

FENCE = re.compile(r"^( *)(`{3,}|~{3,}).*?^\1\2`*~* *$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(\]\()([^)\s]+)(\))")
NAMED = re.compile(r"\bdocs/([\w/-]+\.md)")
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)
WEB = r"(?:https?:)?//"
LOADED = re.compile(
    rf'<(?:script|img|iframe|source)[^>]*\bsrc="?{WEB}|<link[^>]*\brel="?(?:stylesheet|preload|icon)[^>]*\bhref="?{WEB}'
)


# ---------------------------------------------------------------- paths of the repository and of the site
def repository_path(page: str) -> str:
    """Where a page of the site stands in the repository."""
    for path, target in ELSEWHERE.items():
        if target == page:
            return path
    return f"docs/{page}"


def site_path(path: str) -> str:
    """The page of the site that shows a file or a folder of the repository."""
    if path in ELSEWHERE:
        return ELSEWHERE[path]
    if path == "assignments":
        return "assignments/index.md"
    if (ROOT / path).is_dir():
        return site_path(f"{path}/README.md")
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path.startswith("assignments/") and path.endswith(".svg"):
        return path
    return f"source/{path}.md"


def target_of(link: str, path: str) -> str | None:
    """The path in the repository that a link in the file `path` leads to; None for the web and for its own anchors."""
    if re.match(r"[a-z]+:", link) or link.startswith("#"):
        return None
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), link.partition("#")[0]))


def outside_code(markdown: str) -> list[tuple[str, bool]]:
    """The text in pieces, and whether each is outside of fenced code."""
    pieces, end = [], 0
    for fence in FENCE.finditer(markdown):
        pieces += [(markdown[end : fence.start()], True), (fence.group(), False)]
        end = fence.end()
    return [*pieces, (markdown[end:], True)]


# ---------------------------------------------------------------- pages
def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the reference at the end of the navigation."""
    config.nav.append({"Reference": reference_pages()})
    return config


def reference_pages() -> list:
    """The navigation of the reference: a section a package, a page a module."""
    found = []
    for name in REFERENCE:
        folder = PACKAGE / name
        if folder.is_dir():
            found.append({name: [f"reference/{name}/index.md", *modules_of(folder)]})
        else:
            found.append({name: f"reference/{name}.md"})
    return found


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that stand elsewhere, the reference, and the files that are linked."""
    for path, target in ELSEWHERE.items():
        files.append(File.generated(config, target, abs_src_path=str(ROOT / path)))
    for picture in sorted(ROOT.glob("assignments/*/*.svg")):
        path = picture.relative_to(ROOT).as_posix()
        files.append(File.generated(config, path, abs_src_path=str(picture)))
    files.append(File.generated(config, "assignments/index.md", content=list_of_assignments()))
    for page in walk(reference_pages()):
        files.append(File.generated(config, page, content=reference_page(page)))
    for path in sorted(linked_files(files)):
        files.append(File.generated(config, site_path(path), content=source_page(path)))
    return files


def walk(nav: list) -> list[str]:
    """The pages of a piece of navigation."""
    pages: list[str] = []
    for entry in nav:
        for value in entry.values() if isinstance(entry, dict) else (entry,):
            pages += walk(value) if isinstance(value, list) else [value]
    return pages


def list_of_assignments() -> str:
    """A page that lists the assignments."""
    lines = ["# Assignments", "", "Each is a derivation to read, and functions to write by it.", ""]
    for path in ASSIGNMENTS:
        title = (ROOT / path).read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        lines.append(f"* [{title}]({path.removeprefix('assignments/')})")
    return "\n".join([*lines, "", "For teachers: [running a course](../teaching.md).", ""])


def reference_page(page: str) -> str:
    """The page of a module is made of its docstrings; that of a package has its own docstring and lists its modules."""
    parts = page.removeprefix("reference/").removesuffix(".md").split("/")
    if parts[-1] != "index":
        return f"::: npsoftmax.{'.'.join(parts)}\n"
    modules = [next(iter(entry)) for entry in modules_of(PACKAGE / parts[0])]
    lines = [f"| [{m}]({m}.md) | {first_sentence(PACKAGE / parts[0] / f'{m}.py')} |" for m in modules]
    own = f"::: npsoftmax.{parts[0]}\n    options: {{members: false, show_submodules: false}}\n"
    return "\n".join([own, "| module | what is in it |", "|---|---|", *lines, ""])


def modules_of(folder: Path) -> list[dict[str, str]]:
    """The modules of a package and their pages."""
    names = [module.stem for module in sorted(folder.glob("*.py")) if not module.stem.startswith("_")]
    return [{name: f"reference/{folder.name}/{name}.md"} for name in names]


def first_sentence(module: Path) -> str:
    """The first paragraph of a module's docstring, fit for a cell of a table."""
    text = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split()).replace("|", "\\|")


def linked_files(files: Files) -> set[str]:
    """Files of the repository that pages link to, and that are no pages or pictures of the site themselves."""
    found = {"examples/minimal.py"}
    for file in files.documentation_pages():
        path = repository_path(file.src_uri)
        for text, _ in (piece for piece in outside_code(file.content_string) if piece[1]):
            for link in LINK.finditer(text):
                target = target_of(link[2], path)
                if target and (ROOT / target).is_file() and site_path(target).startswith("source/"):
                    found.add(target)
    return found


def source_page(path: str) -> str:
    """A file as a page."""
    text = (ROOT / path).read_text(encoding="utf-8")
    language = LANGUAGES.get(Path(path).suffix, "text")
    settings = "---\nhide: [navigation, toc]\nsearch: {exclude: true}\n---"
    return f'{settings}\n# {Path(path).name}\n\n`{path}`\n\n````{language} linenums="1"\n{text}````\n'


# ---------------------------------------------------------------- links and formulas
def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links between paths of the repository become links between pages of the site."""
    here = page.file.src_uri
    if here.startswith(("reference/", "source/")) or here == "assignments/index.md":
        return markdown
    path = repository_path(here)
    if here.startswith("results/"):
        page.meta["hide"] = ["navigation"]  # room for wide tables

    def moved(link: re.Match[str]) -> str:
        target = target_of(link[2], path)
        if target is None:
            return link.group()
        if not (ROOT / target).exists():
            raise PluginError(f"{path} links to {link[2]}, but there is no {target}")
        anchor = link[2].partition("#")[1] + link[2].partition("#")[2]
        return f"{link[1]}{posixpath.relpath(site_path(target), posixpath.dirname(here) or '.')}{anchor}{link[3]}"

    return "".join(LINK.sub(moved, text) if outside else text for text, outside in outside_code(markdown))


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Formulas become MathML, and pages that docstrings name become links."""
    content = FORMULA.sub(formula, content)
    if not page.file.src_uri.startswith("reference/"):
        return content

    def linked(name: re.Match[str]) -> str:
        named = files.get_file_from_path(name[1])
        if named is None:
            raise PluginError(f"a docstring of {page.file.src_uri} names docs/{name[1]}, which there is not")
        return f'<a href="{get_relative_url(named.url, page.url)}">{name.group()}</a>'

    # Code under a docstring is there to be read; a search should find the docstring.
    content = content.replace(
        '<details class="mkdocstrings-source"', '<details data-search-exclude class="mkdocstrings-source"'
    )
    return NAMED.sub(linked, content)


def formula(match: re.Match[str]) -> str:
    """TeX -> MathML."""
    display = match[2] == "["
    tex = html.unescape(match[3]).strip()
    mathml = LatexToMathML().convert_with_local_state(tex, displaystyle=display)
    return f'<div class="formula" tabindex="0">{mathml}</div>' if display else mathml


def on_post_build(config: MkDocsConfig) -> None:
    """Nothing may be loaded from elsewhere."""
    for file in Path(config.site_dir).rglob("*.html"):
        if found := LOADED.search(file.read_text(encoding="utf-8")):
            raise PluginError(f"{file} loads something from the web: {found.group()}")
