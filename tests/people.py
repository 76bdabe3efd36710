"""The people of the tests: Alice (engineer), Bob (operator), Charlie (viewer), an administrator, Mallory (nobody).

`from tests.people import *` brings the fixtures: `alice`, `bob` … are accounts, `alice_client` … their browsers.
"""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client

from sensors import roles
from tests.conftest import NOON

__all__ = [
    "admin_client", "admin_user", "alice", "alice_client", "bob", "bob_client", "charlie", "charlie_client", "dave",
    "dave_client", "installed_roles", "mallory",
]  # fmt: skip


def person(name: str, role: str | None = None) -> User:
    """An account with that role; its password is never asked for, since tests log in by force."""
    user = User.objects.create(username=name)
    if role:
        roles.give_role(user, role, now=NOON)
    return user


def client_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def installed_roles(db):
    roles.install_roles()


@pytest.fixture
def alice(installed_roles):
    return person("alice", roles.ENGINEER)


@pytest.fixture
def bob(installed_roles):
    return person("bob", roles.OPERATOR)


@pytest.fixture
def charlie(installed_roles):
    return person("charlie", roles.VIEWER)


@pytest.fixture
def admin_user(installed_roles):
    return person("admin", roles.ADMINISTRATOR)


@pytest.fixture
def dave(installed_roles):
    """An account to which nobody has given a role."""
    return person("dave")


@pytest.fixture
def mallory():
    """A browser without an account."""
    return Client()


@pytest.fixture
def alice_client(alice):
    return client_of(alice)


@pytest.fixture
def bob_client(bob):
    return client_of(bob)


@pytest.fixture
def charlie_client(charlie):
    return client_of(charlie)


@pytest.fixture
def admin_client(admin_user):
    return client_of(admin_user)


@pytest.fixture
def dave_client(dave):
    return client_of(dave)
