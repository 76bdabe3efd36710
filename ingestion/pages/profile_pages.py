"""The pages of profiles: what each kind of mote measures, its versions, and packs that engineers bring."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_http_methods, require_safe

from mlops import registry as models
from mlops.models import ModelVersion
from sensors import profiles as deeds
from sensors import registry
from sensors.installation import CannotInstall, Installed
from sensors.models import Mote, Profile, Site
from sensors.packs import BadPack, Pack, shipped, shipped_text
from sensors.packs.changes import duration, formula_words, imputation_words, number, span
from sensors.readings import Channel
from sensors.readings import Profile as Told
from sensors.roles import ENGINEERING, demand, may, person, role_required

BAR_PX = 120.0
LEAST_PX = 3.0


@dataclass(frozen=True, slots=True)
class ChannelRow:
    """A channel as the pages show it: the normal band as a part of the physical range."""

    channel: Channel

    @property
    def bar_x(self) -> float:
        return round(min(self._px(self.channel.normal[0]), BAR_PX - LEAST_PX), 1)

    @property
    def bar_width(self) -> float:
        return round(max(self._px(self.channel.normal[1]) - self.bar_x, LEAST_PX), 1)

    def _px(self, value: float) -> float:
        low, high = self.channel.physical
        return BAR_PX * (value - low) / (high - low)

    @property
    def normal(self) -> str:
        return span(self.channel.normal)

    @property
    def physical(self) -> tuple[str, str]:
        return number(self.channel.physical[0]), number(self.channel.physical[1])

    @property
    def resolution(self) -> str:
        return number(self.channel.resolution)

    @property
    def rate(self) -> str:
        return number(self.channel.max_rate_per_s)

    @property
    def flat(self) -> str:
        return duration(self.channel.flat_after_s)

    @property
    def imputation(self) -> str:
        return imputation_words(self.channel.imputation)

    @property
    def formula(self) -> str:
        return formula_words(self.channel.formula) if self.channel.formula else ""


@dataclass(frozen=True, slots=True)
class ProfileCard:
    """A kind of mote at its current version."""

    row: Profile
    told: Told
    n_motes: int
    n_active: int

    @property
    def channels(self) -> list[ChannelRow]:
        return [ChannelRow(channel) for channel in self.told.channels]

    @property
    def n_derived(self) -> int:
        return sum(channel.formula is not None for channel in self.told.channels)

    @property
    def n_measured(self) -> int:
        return len(self.told.channels) - self.n_derived

    @property
    def interval(self) -> str:
        return duration(self.told.interval_s)

    @property
    def step(self) -> str:
        return duration(self.told.step_s)

    @property
    def silence(self) -> str:
        return duration(self.told.silent_after_s)

    @property
    def battery_low(self) -> str:
        return self._battery(self.told.battery.low) if self.told.battery else ""

    @property
    def battery_empty(self) -> str:
        return self._battery(self.told.battery.empty) if self.told.battery else ""

    def _battery(self, level: float) -> str:
        unit = next(
            one.unit for one in self.told.channels if self.told.battery and one.code == self.told.battery.channel
        )
        return f"{number(level)} {unit}".strip()


@dataclass(frozen=True, slots=True)
class Sent:
    """A pack that somebody brought: one that comes with SIEIS, a file, or the text of the page."""

    data: bytes
    source: str
    site: str

    @classmethod
    def of(cls, request: HttpRequest) -> Sent:
        site = request.POST.get("site", "").strip() or settings.SIEIS_DEFAULT_SITE
        if (own := request.POST.get("shipped")) in shipped():
            return cls(shipped_text(own), f"{own}.toml", site)
        file = request.FILES.get("file")
        data = file.read(deeds.MAX_BYTES + 1) if file else request.POST.get("text", "").encode()
        name = (file.name if file else request.POST.get("source")) or "pack.toml"
        return cls(data.replace(b"\r\n", b"\n"), name, site)

    @property
    def text(self) -> str:
        return self.data.decode("utf-8", errors="replace")

    @property
    def digest(self) -> str:
        """Of what the changes were shown of: only that may be confirmed."""
        return hashlib.sha256(b"\n".join((self.site.encode(), self.data))).hexdigest()


@require_http_methods(["GET", "HEAD", "POST"])
@role_required()
def profiles(request: HttpRequest) -> HttpResponse:
    """All kinds of motes; POST brings a pack: first what it would change, then, confirmed, the change."""
    if request.method == "POST":
        demand(request.user, ENGINEERING)
        return _bring(request, Sent.of(request))
    cards = _cards(_rows())
    known = {card.row.code for card in cards}
    shown = {
        "cards": cards, "sites": _sites(), "may_bring": may(request.user, ENGINEERING),
        "shipped": [code for code in shipped() if code not in known],
    }  # fmt: skip
    return render(request, "profiles.html", shown)


@require_safe
@role_required()
def profile(request: HttpRequest, code: str) -> HttpResponse:
    """One kind of mote: its channels, and what each version changed."""
    row = get_object_or_404(_rows(), code=code)
    versions = deeds.versions(row)
    return render(
        request,
        "profiles/profile.html",
        {
            "card": next(iter(_cards([row])), None),
            "row": row,
            "versions": versions,
            "serving": _model_of_another_version(code),
            "may_bring": may(request.user, ENGINEERING),
        },
    )


@require_safe
@role_required()
def profile_pack(request: HttpRequest, code: str) -> HttpResponse:
    """The current version as a TOML file."""
    row = get_object_or_404(Profile, code=code, versions__is_current=True)
    name = content_disposition_header(as_attachment=True, filename=f"{code}.toml")
    return HttpResponse(
        deeds.current_text(row),
        content_type="application/toml; charset=utf-8",
        headers={"Content-Disposition": str(name)},
    )


def _bring(request: HttpRequest, sent: Sent) -> HttpResponse:
    who, now = person(request), timezone.now()
    try:
        pack = deeds.read_upload(sent.data, sent.source)
        if request.POST.get("confirmed") == sent.digest:
            seen = int(request.POST.get("seen") or 0)
            done = deeds.install(pack, site_code=sent.site, who=who, now=now, seen=seen)
            messages.success(request, f"{pack.profile.label} is installed as version {done.profile_version}.")
            return redirect("profile", code=pack.profile.code)
        plan = deeds.preview(pack, site_code=sent.site, who=who, now=now)
    except BadPack as wrong:
        return _shown(request, sent, trouble=[str(wrong)], line=wrong.line)
    except CannotInstall as refusal:
        return _shown(request, sent, trouble=[str(refusal)], status=409)
    except ValidationError as wrong:
        return _shown(request, sent, trouble=wrong.messages)
    return _shown(request, sent, pack=pack, plan=plan, status=200)


def _shown(
    request: HttpRequest,
    sent: Sent,
    *,
    pack: Pack | None = None,
    plan: Installed | None = None,
    trouble: Sequence[str] = (),
    line: int | None = None,
    status: int = 400,
) -> HttpResponse:
    context: dict[str, Any] = {"sent": sent, "trouble": trouble, "line": line, "sites": _sites(), "plan": plan}
    if pack and plan:
        code = pack.profile.code
        context |= {
            "profile": pack.profile,
            "seen": deeds.current_number(code),
            "serving": models.production(code) if plan.is_new_version else None,
        }
    return render(request, "profiles/upload.html", context, status=status)


def _rows() -> QuerySet[Profile]:
    kept, active = (Q(motes__is_probe=False) & ~Q(motes__state=Mote.State.RETIRED), Q(motes__state=Mote.State.ACTIVE))
    return Profile.objects.annotate(n_motes=Count("motes", filter=kept), n_active=Count("motes", filter=kept & active))


def _cards(rows: Any) -> list[ProfileCard]:
    """The profile with the most motes first."""
    told = registry.profiles()
    cards = [ProfileCard(row, told[row.code], row.n_motes, row.n_active) for row in rows if row.code in told]
    return sorted(cards, key=lambda card: -card.n_motes)


def _sites() -> list[str]:
    return list(Site.objects.values_list("code", flat=True))


def _model_of_another_version(code: str) -> ModelVersion | None:
    """The model that would serve, were it not for its profile's version."""
    found = models.production(code)
    return found if found and found.profile_version != deeds.current_number(code) else None
