"""What a deployment folder says of itself: `deployment.json`, which also tells that a folder is one."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from nncf_mcq.config.record import Record

DEPLOYMENT_FILE: Final = "deployment.json"
SERVER_FILE: Final = "config.json"
PROPERTIES_FILE: Final = "device.json"
LABELS_FILE: Final = "labels.txt"
README_FILE: Final = "README.md"
MODEL_FOLDER: Final = "model"


class CheckReport(Record):
    """How the model that is deployed compares with the quantized model.

    Attributes:
        images: Number of images that both ran on.
        source: Where they come from.
        difference: Largest difference to an output of the quantized model on the preprocessed images, as a part of the
            range of that output.
        resize_difference: The same for images of other sizes, resized by the model and by Pillow; None where the model
            resizes none.
        integer_layers: Number of layers on int8 kernels, in both.
        layers: Number of layers that could be.
    """

    images: int
    source: str
    difference: float
    resize_difference: float | None = None
    integer_layers: int
    layers: int


class InputReport(Record):
    """An input of the model that is deployed.

    Attributes:
        name: Its name.
        type: Of its elements.
        shape: Its shape; ? where any size may stand.
        layout: The order of the dimensions, None where nobody told.
    """

    name: str
    type: str
    shape: str
    layout: str | None = None


class Deployment(Record):
    """A `deployment.json`.

    Attributes:
        name: Of the model, in Model Server's addresses.
        device: Of OpenVINO.
        properties: That the outputs were measured with.
        inputs: Of the model.
        left_to_user: What must be done to an image before the model reads it, in order.
        reason: Why no preprocessing is built in; None where it is.
        labels: Number of classes that are named.
        check: The comparison with the quantized model.
        milliseconds: Median time of an inference of the quantized and of the deployed model, interleaved.
        threads: Inference threads of that.
        processor: Of this machine.
        bin_bytes: Size of the .bin file.
        xml_bytes: Size of the .xml file.
        versions: Of packages.
    """

    name: str
    device: str
    properties: dict[str, str]
    inputs: tuple[InputReport, ...]
    left_to_user: tuple[str, ...] = ()
    reason: str | None = None
    labels: int | None = None
    check: CheckReport
    milliseconds: dict[str, float] = Field(default_factory=dict)
    threads: int
    processor: str
    bin_bytes: int
    xml_bytes: int
    versions: dict[str, str] = Field(default_factory=dict)
