"""Names in the JSON and the classes behind them, open to third parties.

A section of the configuration that has a `type` (`initializer.range`, `initializer.precision`, `activations.range`,
`tuning`, `dataset`) names a class of a registry. A class is registered together with the pydantic model of its
parameters, which the JSON is checked against::

    from nncf_mcq import RANGE_INITIALIZERS

    @RANGE_INITIALIZERS.register
    class MyRule(RangeInitializer):
        class Parameters(RangeInitializer.Parameters):
            type: Literal["my_rule"] = "my_rule"

A package that declares an entry point in the group `nncf_mcq.plugins` is imported before the CLI reads a configuration,
so its registrations are known there too. The classes of this package register themselves when one of their kind is
first looked up: a command that reads no configuration does without them and without the libraries that they need.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from importlib import metadata
from typing import Generic, TypeVar, get_args

from nncf_mcq.config.parameters import NamedParameters, Parameters
from nncf_mcq.errors import NncfMcqError

PLUGIN_GROUP = "nncf_mcq.plugins"


class ParameterModels:
    """The parameter models of one kind of classes, by name: all that the configuration knows of them.

    Args:
        kind: The classes, in words, for messages: "range initializer".
        home: Module that registers the classes of this package when it is imported; None where there are none.
    """

    def __init__(self, kind: str, home: str | None = None) -> None:
        self.kind = kind
        self._home = home
        self._models: dict[str, type[Parameters]] = {}

    def load(self) -> None:
        """Registers the classes of this package, if they are not yet."""
        if self._home is not None:
            importlib.import_module(self._home)

    def __getitem__(self, name: str) -> type[Parameters]:
        self.load()
        return self._models[name]

    def __setitem__(self, name: str, model: type[Parameters]) -> None:
        self._models[name] = model

    def __delitem__(self, name: str) -> None:
        del self._models[name]

    def __iter__(self) -> Iterator[str]:
        self.load()
        return iter(sorted(self._models))


class Configurable:
    """Base of the classes that are made from their parameters in the JSON.

    Args:
        parameters: An instance of the class's own `Parameters`, as validated from the JSON.
    """

    def __init__(self, parameters: NamedParameters) -> None:
        self.parameters = parameters


Registered = TypeVar("Registered")
RegisteredConfigurable = TypeVar("RegisteredConfigurable", bound=Configurable)


class Registry(Generic[Registered]):
    """The classes of one kind by the name that the JSON uses.

    Args:
        models: Where their parameter models are known to the configuration.
    """

    def __init__(self, models: ParameterModels) -> None:
        self._models = models
        self._classes: dict[str, type[Registered]] = {}

    def register(self, registered: type[Registered]) -> type[Registered]:
        """Registers a class under the literal of its `Parameters.type`; usable as a decorator.

        Raises:
            NncfMcqError: The class has no such literal, or another class has the name.
        """
        kind = self._models.kind
        model = getattr(registered, "Parameters", None)
        if not (isinstance(model, type) and issubclass(model, Parameters)) or (name := _literal_type(model)) is None:
            raise NncfMcqError(
                f"{registered.__name__}.Parameters must declare `type: Literal[NAME] = NAME` to be a {kind}"
            )
        known = self._classes.get(name)
        if known is not None and known.__qualname__ != registered.__qualname__:
            raise NncfMcqError(f"a {kind} named {name!r} is registered already: {known.__qualname__}")
        self._classes[name] = registered
        self._models[name] = model
        return registered

    def unregister(self, name: str) -> None:
        """Removes a name; unknown names are ignored."""
        if self._classes.pop(name, None) is not None:
            del self._models[name]

    def class_of(self, parameters: Parameters) -> type[Registered]:
        """The class that belongs to validated parameters.

        Raises:
            NncfMcqError: They are of no class that is registered here.
        """
        name = _literal_type(type(parameters))
        if name is None or name not in self or not isinstance(parameters, self._models[name]):
            raise NncfMcqError(f"{type(parameters).__qualname__}: not the parameters of a {self._models.kind}")
        return self._classes[name]

    def create(self: Registry[RegisteredConfigurable], parameters: NamedParameters) -> RegisteredConfigurable:
        """Instantiates the class that belongs to validated parameters.

        Raises:
            NncfMcqError: They are of no class that is registered here.
        """
        return self.class_of(parameters)(parameters)

    def __getitem__(self, name: str) -> type[Registered]:
        self._models.load()
        return self._classes[name]

    def __contains__(self, name: object) -> bool:
        self._models.load()
        return name in self._classes

    def __iter__(self) -> Iterator[str]:
        self._models.load()
        return iter(sorted(self._classes))


def _literal_type(model: type[Parameters]) -> str | None:
    """The one value that the field `type` of a parameter model can have."""
    field = model.model_fields.get("type")
    names = get_args(field.annotation) if field is not None else ()
    return names[0] if len(names) == 1 and isinstance(names[0], str) else None


def load_plugins() -> None:
    """Imports every installed package that declares an entry point in the group `nncf_mcq.plugins`."""
    for entry_point in metadata.entry_points(group=PLUGIN_GROUP):
        entry_point.load()


RANGE_PARAMETERS = ParameterModels("range initializer", "nncf_mcq.range_init")
ACTIVATION_RANGE_PARAMETERS = ParameterModels("activation range initializer", "nncf_mcq.range_init.activation")
PRECISION_PARAMETERS = ParameterModels("precision initializer", "nncf_mcq.precision_init.builtin")
DATASET_PARAMETERS = ParameterModels("data set", "nncf_mcq.data.datasets")
TUNING_PARAMETERS = ParameterModels("tuning method", "nncf_mcq.training.tuning")
