"""`nncf-mcq schema`, `recipes` and `baselines`: what ships with the package."""

from __future__ import annotations

import json

from nncf_mcq.cli.application import application
from nncf_mcq.config.catalog import baselines as shipped_baselines
from nncf_mcq.config.catalog import recipes as shipped_recipes
from nncf_mcq.utils.help_text import examples


@application.command(
    epilog=examples(
        "nncf-mcq schema",
    )
)
def schema() -> None:
    """Print the JSON Schema of the configuration."""
    from nncf_mcq.config import schema as configuration

    print(json.dumps(configuration.json_schema(), indent=2))


@application.command(
    epilog=examples(
        "nncf-mcq recipes",
        "nncf-mcq layers fashion_mnist",
    )
)
def recipes() -> None:
    """List the recipes that ship with the package, and what each needs; a name can be used as CONFIG."""
    for name, recipe in shipped_recipes().items():
        print(f"{name:<24}{'' if recipe is None else recipe.description}".rstrip())
        if recipe is not None:
            print(f"{'':<24}needs {recipe.needs}")


@application.command(
    epilog=examples(
        "nncf-mcq baselines",
        "nncf-mcq quantize config.json --baseline hawq --output hawq",
    )
)
def baselines() -> None:
    """List the baselines that ship with the package, for `quantize CONFIG --baseline NAME`."""
    for name, baseline in shipped_baselines().items():
        print(f"{name:<20} {baseline.description}")
