"""Text from outside inside XML: escaped, and without the characters that XML cannot hold."""

from __future__ import annotations

import re

# XML 1.0 holds neither most control characters nor lone surrogates, however they are escaped.
_UNHELD = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_MARKUP = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;", "\n": "&#10;",
           "\t": "&#9;"}  # fmt: skip
_SPECIAL = re.compile('[&<>"\r\n\t]')


def xml(text: str) -> str:
    """`text` for the inside of an element or an attribute in double quotes. What XML cannot hold is
    written as Python would, `\\x1b`."""
    text = _UNHELD.sub(lambda found: repr(found[0])[1:-1], text)
    return _SPECIAL.sub(lambda found: _MARKUP[found[0]], text)
