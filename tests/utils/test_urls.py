from __future__ import annotations

import pytest

from nncf_mcq.utils.urls import without_password, without_secrets


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://user:secret@host/db", "postgresql://user:***@host/db"),
        ("postgresql://u:se/cret@host/db", "postgresql://u:***@host/db"),
        ("postgresql://u:s@e:c#r?et@host:5432/db", "postgresql://u:***@host:5432/db"),
        ("redis://:secret@host:6379/0", "redis://:***@host:6379/0"),
        ("mysql+pymysql://host/db?user=me&passwd=secret", "mysql+pymysql://host/db?user=me&passwd=***"),
        ("postgresql://h/db?sslpassword=secret&sslmode=require", "postgresql://h/db?sslpassword=***&sslmode=require"),
        ("postgresql://h/db?PASSWORD=secret", "postgresql://h/db?PASSWORD=***"),
        ("postgresql://host:5432/db", "postgresql://host:5432/db"),
        ("sqlite:///study.db", "sqlite:///study.db"),
        (
            "nncf-mcq quantize c.json --study-storage postgresql://u:secret@host/db -o out",
            "nncf-mcq quantize c.json --study-storage postgresql://u:***@host/db -o out",
        ),
    ],
)
def test_passwords_are_hidden_in_every_form(url: str, expected: str) -> None:
    assert without_password(url) == expected


def test_a_message_does_not_tell_the_secret_either() -> None:
    url = "postgresql://u:s%2Fcret@host/db?sslpassword=other"
    message = "could not connect: user=u password=s/cret or s%2Fcret, sslpassword other"
    found = without_secrets(message, url)
    assert "cret" not in found
    assert "other" not in found
