"""`nncf-mcq schema`, `recipes` and `baselines`: what ships with the package."""

from __future__ import annotations

import json

from nncf_mcq.cli.application import application
from nncf_mcq.config.catalog import baselines as shipped_baselines
from nncf_mcq.config.catalog import recipe_names


@application.command()
def schema() -> None:
    """Print the JSON Schema of the configuration."""
    from nncf_mcq.config import schema as configuration

    print(json.dumps(configuration.json_schema(), indent=2))


@application.command()
def recipes() -> None:
    """List the recipes that ship with the package; a name can be used as CONFIG."""
    for name in recipe_names():
        print(name)


@application.command()
def baselines() -> None:
    """List the baselines that ship with the package, for `quantize CONFIG --baseline NAME`."""
    for name, baseline in shipped_baselines().items():
        print(f"{name:<20} {baseline.description}")
