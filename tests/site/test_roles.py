"""Roles are groups with permissions; every role may look, operators act on alerts, engineers on models."""

import pytest
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied
from django.core.management import call_command

from sensors import roles
from sensors.models import AuditEntry
from tests.conftest import NOON
from tests.people import *  # noqa: F403
from tests.people import person


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        (roles.VIEWER, {roles.VIEW}),
        (roles.OPERATOR, {roles.VIEW, roles.OPERATE}),
        (roles.ENGINEER, {roles.VIEW, roles.OPERATE, roles.ENGINEERING}),
        (roles.ADMINISTRATOR, {roles.VIEW, roles.OPERATE, roles.ENGINEERING}),
    ],
)
def test_each_role_may_do_what_it_is_for_and_no_more(installed_roles, role, allowed):
    user = person("erin", role)

    assert {deed for deed in roles.REFUSALS if roles.may(user, deed)} == allowed


def test_an_account_without_a_role_is_told_whom_to_ask(dave):
    with pytest.raises(PermissionDenied, match="Ask an administrator"):
        roles.demand(dave, roles.OPERATE)


def test_a_viewer_is_told_which_role_acting_takes(charlie):
    with pytest.raises(PermissionDenied, match="operator"):
        roles.demand(charlie, roles.OPERATE)


def test_an_account_that_was_switched_off_may_nothing(alice):
    alice.is_active = False

    assert not roles.may(alice, roles.VIEW)


def test_only_administrators_enter_the_admin(admin_user, alice):
    assert (admin_user.is_staff, alice.is_staff) == (True, False)


def test_setting_up_the_roles_again_keeps_what_was_added(installed_roles, capsys):
    extra = Group.objects.get(name="engineer").permissions.get(codename="operate_models")
    viewers = Group.objects.get(name="viewer")
    viewers.permissions.add(extra)

    call_command("setup_roles")

    assert viewers.permissions.filter(pk=extra.pk).exists()
    assert "viewer, operator, engineer, administrator" in capsys.readouterr().out


def test_demo_accounts_are_made_once_and_keep_a_changed_password(db, settings):
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    first = roles.create_demo_accounts("demo", NOON)
    viewer = User.objects.get(username="viewer")
    viewer.set_password("my own secret")
    viewer.save()

    again = roles.create_demo_accounts("demo", NOON)

    assert (first, again) == (["viewer", "operator", "engineer", "admin"], [])
    assert User.objects.get(username="viewer").check_password("my own secret")
    assert AuditEntry.objects.filter(deed="give_role", subject="user:admin").exists()
