"""What must not be shown."""

from __future__ import annotations

import difflib
import re
from typing import Any

MASK = "********"

_WORDS = ("password", "passphrase", "passwd", "secret", "token", "credential")
_SECRET = (
    "|".join(_WORDS)
    + r"|jaas|private[._]?key|(?:api|access)[._-]?key|ssl[._]key|\.pem\b|basic\.auth|auth\.user\.info"
    r"|oauthbearer\.config"
)
_SECRET_NAME = re.compile(_SECRET, re.IGNORECASE)
# A name that slipped into a text together with its value, as in `sasl.password:abc` without the space of YAML.
_NAME_AND_VALUE = re.compile(rf"((?:{_SECRET})[\w.-]*[\"']?[\s:=]+)\S.*", re.IGNORECASE | re.DOTALL)
# Up to the last @: a password may itself hold one.
_USER_INFORMATION = re.compile(r"(?<=://)\S*@")
# Finds `passwrod`; no option of librdkafka is that close to one of the words without holding a secret.
_MISSPELLED = 0.8


def masked(name: str, value: Any) -> Any:
    """The value as it may be shown: without secrets, known by their name, and user information in URLs."""
    if isinstance(value, dict):
        return {without_secrets(key): masked(f"{name}.{key}", item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [masked(name, item) for item in value]
    if value not in (None, "") and is_secret(name):
        return MASK
    return without_secrets(value) if isinstance(value, str) else value


def without_secrets(text: str) -> str:
    """The text without what follows the name of a secret in it, and without user information in URLs."""
    return _NAME_AND_VALUE.sub(rf"\1{MASK}", _USER_INFORMATION.sub(f"{MASK}@", text))


def is_secret(name: str) -> bool:
    """Whether an option of this name, even a misspelled one, holds a secret itself, not the place of one."""
    if name.lower().endswith(".location"):
        return False
    return bool(_SECRET_NAME.search(name)) or any(
        difflib.get_close_matches(word, _WORDS, 1, _MISSPELLED) for word in re.split(r"\W|_", name.lower())
    )
