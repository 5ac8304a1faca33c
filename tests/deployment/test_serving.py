"""Model Server's file keeps to the rules of the server."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from nncf_mcq.deployment.serving import ServerConfig

MODEL: dict[str, Any] = {"name": "small", "base_path": "model"}


def config(**changes: Any) -> dict[str, Any]:
    return {"model_config_list": [{"config": {**MODEL, **changes}}]}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"plugin_config": {"NUM_STREAMS": 2, "INFERENCE_PRECISION_HINT": "f32"}},
        {"shape": {"images": "(1,8,8,3)"}, "nireq": 4},
        {"model_version_policy": {"latest": {"num_versions": 1}}, "batch_size": "auto"},
    ],
)
def test_what_the_server_takes(changes: dict[str, Any]) -> None:
    ServerConfig.model_validate(config(**changes))


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"model_config_list": [{"config": {"name": "small"}}]},
        {"model_config_list": [MODEL]},
        {**config(), "models": []},
        config(device="CPU"),
        config(nireq=-1),
        config(plugin_config={"NUM_STREAMS": [2]}),
        config(model_version_policy={"specific": {"versions": [0]}}),
        config(name="small model"),
    ],
    ids=str,
)
def test_what_the_server_refuses(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ServerConfig.model_validate(wrong)
