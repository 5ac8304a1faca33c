"""Reports as HTML: the colours, the style sheet and the templates.

The colours are one table for style sheet and plots, light and dark. Bits go from warm (few) to cool (many); rules and
methods have hues that people with any colour vision tell apart (after Okabe and Ito), lightened for the dark page.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import jinja2

LIGHT: Final[Mapping[str, str]] = {
    "page": "#fbfbfa",
    "card": "#ffffff",
    "text": "#1d232b",
    "quiet": "#5b6672",
    "line": "#e3e6ea",
    "track": "#eef0f3",
    "accent": "#1f5f8b",
    "accent-soft": "#cfe0ec",
    "good": "#1d6f4a",
    "good-back": "#e3f2ea",
    "warn": "#8a5200",
    "warn-back": "#fbeedb",
    "bits-1": "#b5482a",
    "bits-2": "#d1663a",
    "bits-3": "#e49a4f",
    "bits-4": "#e0c26b",
    "bits-5": "#9dbf8a",
    "bits-6": "#5ba2a0",
    "bits-7": "#3a7fa3",
    "bits-8": "#2a5c8a",
    "bits-float": "#9aa2ac",
    "series-1": "#c8501e",
    "series-2": "#2f6db0",
    "series-3": "#1f8a6a",
    "series-4": "#b8860b",
    "series-5": "#9c5a94",
    "series-6": "#4f9fc4",
    "series-7": "#6b6f76",
    "series-8": "#7a5a3a",
    "series-9": "#8a8f2f",
    "series-10": "#333a44",
}

DARK: Final[Mapping[str, str]] = {
    **LIGHT,
    "page": "#14181d",
    "card": "#1b2027",
    "text": "#e4e8ed",
    "quiet": "#9aa5b1",
    "line": "#2d343d",
    "track": "#262c34",
    "accent": "#7db7de",
    "accent-soft": "#27435a",
    "good": "#7fcfa3",
    "good-back": "#1c3428",
    "warn": "#edba70",
    "warn-back": "#3a2c16",
    "bits-7": "#4b93b8",
    "bits-8": "#4f83b8",
    "series-1": "#e8793f",
    "series-2": "#6aa5e6",
    "series-3": "#45b894",
    "series-4": "#dcae3c",
    "series-5": "#c88abf",
    "series-6": "#7cc4e4",
    "series-7": "#9ea4ad",
    "series-8": "#b58f68",
    "series-9": "#b9be5c",
    "series-10": "#d5dae0",
}


def page_environment(package: str) -> jinja2.Environment:
    """The templates of a package, which find `report.css.j2` and its colours here.

    Args:
        package: Has the folder `templates`.
    """
    # Only reports need it.
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(name) for name in dict.fromkeys([package, "nncf_mcq"])]),
        autoescape=jinja2.select_autoescape(["j2"], default_for_string=True, default=True),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(light=LIGHT, dark=DARK)
    return environment
