"""Text from elsewhere, such as names, logs and answers, made fit for a terminal, Markdown, XML and HTML.

What a terminal or a parser would act upon is shown as an escape (`\\x1b`) instead of being sent.
"""

import re
import unicodedata

KEPT = "\n\t"
# Spaces of any width are text; separators of lines and paragraphs are not.
SPACE = "Zs"


def visible(text: str) -> str:
    """Write controls, lone surrogates, invisible and unassigned characters of `text` as escapes."""
    if text.isprintable():
        return text
    return "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character in KEPT or character.isprintable() or unicodedata.category(character) == SPACE:
        return character
    return character.encode("unicode_escape").decode()


def one_line(text: str) -> str:
    """Make `text` visible and put it on one line."""
    return visible(text).replace("\n", " ").replace("\t", " ")


def escaped(text: str) -> str:
    """Escape `text` so that Markdown shows it as it is: no markup, no HTML, no new cell or line."""
    plain = re.sub(r"([\\`*\[\]|~#])", r"\\\1", one_line(text))
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # Inside a word an underscore is only itself.
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", plain)


def code(text: str) -> str:
    """Return `text` as a Markdown code span, fenced by more backticks than it holds."""
    ticks = "`" * (_longest_ticks(text) + 1)
    pad = " " if "`" in text else ""
    return f"{ticks}{pad}{one_line(text)}{pad}{ticks}"


def code_cell(text: str) -> str:
    """Return `text` as a code span for a table's cell, or escaped if it has a bar, which ends even a span."""
    return escaped(text) if "|" in text else code(text)


def fenced(text: str) -> str:
    """Return `text` as a Markdown code block."""
    ticks = "`" * max(3, _longest_ticks(text) + 1)
    return f"{ticks}text\n{text}\n{ticks}"


def _longest_ticks(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
