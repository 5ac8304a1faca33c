"""Conformance of what every registered class has: its name in the JSON and the model of its parameters."""

from __future__ import annotations

import functools
import json
from typing import Any, ClassVar, get_args

import jsonschema
import pytest

from nncf_mcq.config.registry import Registry
from nncf_mcq.config.schema import Config, json_schema, load_config
from nncf_mcq.errors import ConfigError

Section = dict[str, Any]
"""The JSON object of one registered class: its `type` and its parameters."""

UNKNOWN_KEY = "no_such_key"


class RegisteredTestCase:
    """Base of the suites: the fixture `section` is the JSON of the class that is tested.

    Attributes:
        registry: Where classes of this kind are registered.
        path: The place of the section in a configuration.
        alternatives: Parameters of which a section must have one, though none of them is required by itself.
    """

    registry: ClassVar[Registry[Any]]
    path: ClassVar[str]
    alternatives: ClassVar[frozenset[str]] = frozenset()

    @pytest.fixture
    def section(self) -> Section:
        """The JSON of the tested class; every subclass defines it."""
        raise NotImplementedError(f"{type(self).__name__} needs the fixture `section`: the JSON of the tested class")

    def place(self, section: Section) -> dict[str, Any]:
        """A configuration with nothing but the section in its place."""
        placed: dict[str, Any] = section
        for key in reversed(self.path.split(".")):
            placed = {key: placed}
        return placed

    def parameters(self, section: Section) -> Any:
        """The validated parameters of a section."""
        return self._find(load_config(self.place(section)))

    def create(self, section: Section) -> Any:
        """An instance of the tested class."""
        return self.registry.create(self.parameters(section))

    def test_the_type_names_the_class(self, section: Section) -> None:
        """The `type` is registered, is the literal of the class's own parameters, and the class says what it is."""
        assert section["type"] in self.registry, f"import the module that registers {section['type']!r}"
        registered = self.registry[section["type"]]
        assert get_args(registered.Parameters.model_fields["type"].annotation) == (section["type"],)
        assert type(self.parameters(section)) is registered.Parameters
        assert registered.__doc__, "the docstring of the class is its description in the reference"

    def test_parameters_survive_json(self, section: Section) -> None:
        """A configuration that is written and read again is the same."""
        config = load_config(self.place(section))
        written = json.loads(json.dumps(config.to_dict()))
        assert load_config(written) == config
        # What is written in full says the same as the short form.
        assert self._find(load_config(written)) == self.parameters(section)

    def test_defaults_are_values_that_the_json_may_have(self, section: Section) -> None:
        """Pydantic takes defaults as they are: they have to keep the bounds that the class itself declares."""
        model = self.registry[section["type"]].Parameters
        fields = model.model_fields.items()
        given = {
            name for name, field in fields if field.is_required() or (name in self.alternatives and name in section)
        }
        required = {name: section[name] for name in given}
        defaults = self.parameters({"type": section["type"], **required})
        assert self.parameters(defaults.model_dump(mode="json", exclude_none=True)) == defaults

    def test_an_unknown_key_is_refused(self, section: Section) -> None:
        """A misspelt parameter is an error that names it and the keys that are known."""
        with pytest.raises(ConfigError) as caught:
            load_config(self.place({**section, UNKNOWN_KEY: 1}))
        assert caught.value.path == f"{self.path}.{UNKNOWN_KEY}"
        assert "type" in caught.value.allowed

    def test_the_schema_knows_the_parameters(self, section: Section) -> None:
        """The JSON Schema stays valid, accepts the section, and refuses an unknown key in it."""
        validator = _validator(json.dumps(json_schema()))
        mistake = jsonschema.exceptions.best_match(validator.iter_errors(self.place(section)))
        assert mistake is None, mistake.message
        assert not validator.is_valid(self.place({**section, UNKNOWN_KEY: 1}))

    def test_parameters_do_not_change(self, section: Section) -> None:
        """Parameters are shared by all that reads the configuration."""
        parameters = self.parameters(section)
        with pytest.raises(ValueError, match="frozen"):
            parameters.type = "another"

    def _find(self, config: Config) -> Any:
        found: Any = config
        for key in self.path.split("."):
            found = getattr(found, key)
        return found


@functools.cache
def _validator(schema: str) -> jsonschema.Draft202012Validator:
    """Of a schema that is valid itself, which takes longest to find out: once for each schema."""
    read = json.loads(schema)
    jsonschema.Draft202012Validator.check_schema(read)
    return jsonschema.Draft202012Validator(read)
