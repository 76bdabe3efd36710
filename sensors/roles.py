"""Who may do what: four roles as Django groups, asked in one way by pages, API, admin and websocket."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from functools import wraps
from typing import TYPE_CHECKING, Any

from django.contrib.auth.mixins import AccessMixin
from django.contrib.auth.models import AnonymousUser, Group, Permission, User
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseBase
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from sensors import audit

if TYPE_CHECKING:  # settings name this module, and DRF's views read the settings
    from rest_framework.views import APIView

VIEWER, OPERATOR, ENGINEER, ADMINISTRATOR = "viewer", "operator", "engineer", "administrator"
ROLES = (VIEWER, OPERATOR, ENGINEER, ADMINISTRATOR)

# What the doors ask for. A role is nothing but a set of permissions, so that an administrator can cut others.
VIEW = "sensors.view_mote"
OPERATE = "alerts.act_on_alert"
ENGINEERING = "mlops.operate_models"
REFUSALS = {
    VIEW: "Your account has no role yet. Ask an administrator to make you a viewer, operator or engineer.",
    OPERATE: "This needs the role operator or engineer; yours may look, not act.",
    ENGINEERING: "This needs the role engineer.",
}

OUR_APPS = ("sensors", "alerts", "mlops", "ingestion")


@transaction.atomic
def install_roles() -> None:
    """Creates the four groups and gives each the permissions it lacks; takes none away that somebody added."""
    views = Permission.objects.filter(content_type__app_label__in=OUR_APPS, codename__startswith="view_")
    acts = _permissions(OPERATE, "alerts.add_maintenancewindow", "alerts.change_maintenancewindow", "mlops.add_label")
    engineering = _permissions(ENGINEERING)
    grants: dict[str, Iterable[Permission]] = {
        VIEWER: views,
        OPERATOR: [*views, *acts],
        ENGINEER: [*views, *acts, *engineering],
        ADMINISTRATOR: Permission.objects.all(),
    }
    for role, permissions in grants.items():
        group, _ = Group.objects.get_or_create(name=role)
        group.permissions.add(*permissions)


def _permissions(*names: str) -> list[Permission]:
    return [
        Permission.objects.get(content_type__app_label=app, codename=code)
        for app, _, code in (name.partition(".") for name in names)
    ]


@transaction.atomic
def give_role(user: User, role: str, *, now: datetime, who: User | None = None) -> None:
    """Puts the user into the role's group; administrators may also enter the admin."""
    user.groups.add(Group.objects.get(name=role))
    if role == ADMINISTRATOR and not user.is_staff:
        user.is_staff = True
        user.save(update_fields=["is_staff"])
    audit.record(deed="give_role", subject=f"user:{user.username}", detail={"role": role}, who=who, now=now)


@transaction.atomic
def create_demo_accounts(password: str, now: datetime) -> list[str]:
    """One account a role (viewer, operator, engineer, admin) where it is missing; answers the names of the new ones.

    An account that exists keeps its password and roles.
    """
    install_roles()
    created = []
    for role in ROLES:
        name = "admin" if role == ADMINISTRATOR else role
        if User.objects.filter(username=name).exists():
            continue
        give_role(User.objects.create_user(name, password=password), role, now=now)
        created.append(name)
    return created


def may(user: User | AnonymousUser, permission: str) -> bool:
    """A person who comes by a token may no more than its scope allows."""
    allowed: frozenset[str] | None = getattr(user, "token_allows", None)
    return user.is_active and user.has_perm(permission) and (allowed is None or permission in allowed)


def operators() -> QuerySet[User]:
    """Those who may act on alerts."""
    return User.objects.with_perm(OPERATE, backend="django.contrib.auth.backends.ModelBackend").order_by("username")


def demand(user: User | AnonymousUser, permission: str) -> None:
    """Refuses with a sentence that says which role it takes."""
    if not may(user, permission):
        raise PermissionDenied(REFUSALS[VIEW] if not may(user, VIEW) else REFUSALS[permission])


def person(request: HttpRequest | Request) -> User:
    """Whom a request that was let in comes from."""
    if not isinstance(request.user, User):
        raise PermissionDenied("Log in first.")
    return request.user


class RoleRequired(AccessMixin):
    """A class-based page for those who have `needs`; anonymous people are sent to the login."""

    needs = VIEW

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return self.handle_no_permission()
        demand(request.user, self.needs)
        return super().dispatch(request, *args, **kwargs)  # type: ignore[misc]


def role_required(needs: str = VIEW) -> Callable[[Callable[..., HttpResponseBase]], Callable[..., HttpResponseBase]]:
    """The same for a page that is a function; LoginRequiredMiddleware has sent anonymous people to the login."""

    def decorate(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            demand(request.user, needs)
            return view(request, *args, **kwargs)

        return guarded

    return decorate


class CanView(BasePermission):
    needs = VIEW

    def has_permission(self, request: Request, view: APIView) -> bool:
        self.message = REFUSALS[VIEW] if not may(request.user, VIEW) else REFUSALS[self.needs]
        return may(request.user, self.needs)


class CanOperate(CanView):
    needs = OPERATE


class CanEngineer(CanView):
    needs = ENGINEERING
