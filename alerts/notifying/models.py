"""Where messages go, who hears of what, what waits to be told, and what became of each message."""

from __future__ import annotations

from django.conf import settings
from django.db import models

SEVERITIES = ("low", "medium", "high")


class TargetQuerySet(models.QuerySet["Target"]):
    def standing(self) -> TargetQuerySet:
        return self.filter(removed_at=None)

    def shared_or_of(self, user: object) -> TargetQuerySet:
        return self.standing().filter(models.Q(owner=None) | models.Q(owner=user))


class Target(models.Model):
    """Somewhere a message can be sent. One with an owner is that person's own and nobody else's."""

    class Kind(models.TextChoices):
        EMAIL = "email", "e-mail"
        WEBHOOK = "webhook"
        CHAT = "chat"

    name = models.CharField(max_length=80)
    kind = models.CharField(max_length=8, choices=Kind)
    address = models.CharField(max_length=500, help_text="An e-mail address, an https address, or a chat service's URL")
    secret = models.CharField(max_length=80, blank=True, editable=False, help_text="Signs a webhook's messages")
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, null=True, blank=True, related_name="notification_targets"
    )
    made_at = models.DateTimeField()
    removed_at = models.DateTimeField(null=True, blank=True, help_text="Its log stays")

    objects = TargetQuerySet.as_manager()

    class Meta:
        ordering = ("name", "pk")

    def __str__(self) -> str:
        return self.name

    @property
    def shown_address(self) -> str:
        """Without what is secret in it: a chat service's URL holds its token, a webhook's often does."""
        if self.kind == self.Kind.EMAIL:
            return self.address
        scheme, _, rest = self.address.partition("://")
        host = rest.partition("/")[0].rpartition("@")[2] if self.kind == self.Kind.WEBHOOK else ""
        return f"{scheme}://{host}{'/…' if '/' in rest else ''}" if host else f"{scheme}://…"


class Route(models.Model):
    """Who hears of what, when. With `after_s` it is a step of escalation: only what nobody has acknowledged by then."""

    class Mode(models.TextChoices):
        AUTO = "auto", "low severity in a digest, the rest at once"
        AT_ONCE = "at_once", "at once"
        DIGEST = "digest", "in a digest"

    name = models.CharField(max_length=80, blank=True)
    target = models.ForeignKey(Target, models.CASCADE, related_name="routes")
    least_severity = models.CharField(max_length=8, choices=[(one, one) for one in SEVERITIES], default="low")
    site = models.ForeignKey("sensors.Site", models.CASCADE, null=True, blank=True, related_name="+")
    zone = models.ForeignKey("sensors.Zone", models.CASCADE, null=True, blank=True, related_name="+")
    kinds = models.JSONField(default=list, blank=True, help_text="Kinds of alert; empty for all")
    hours = models.JSONField(null=True, blank=True, help_text="Hours of the week; empty for always")
    mode = models.CharField(max_length=8, choices=Mode, default=Mode.AUTO)
    after_s = models.PositiveIntegerField(default=0, help_text="Seconds without an acknowledgement")
    tells_recovery = models.BooleanField(default=True)
    is_on = models.BooleanField(default=True)

    class Meta:
        ordering = ("after_s", "pk")

    def __str__(self) -> str:
        return self.name or f"{self.least_severity} and above to {self.target}"


class Notice(models.Model):
    """The outbox: that something about an alert is to be told. Written in the transaction of the alert's change."""

    class Outcome(models.TextChoices):
        WAITING = "", "waiting"
        TOLD = "told"
        NOBODY = "nobody", "no route wants it"
        SILENCED = "silenced", "over before its silence was"
        ANSWERED = "answered", "answered in time"

    alert = models.ForeignKey("alerts.Alert", models.CASCADE, related_name="notices")
    what = models.CharField(max_length=12, help_text="open, worsen, reopen, resolve, or unanswered")
    route = models.ForeignKey(
        Route, models.CASCADE, null=True, related_name="+", help_text="Whose step of escalation it is"
    )
    at = models.DateTimeField()
    due_at = models.DateTimeField(null=True, help_text="Empty: as soon as somebody looks")
    is_held = models.BooleanField(default=False, help_text="Was held back by a silence or a snooze")
    planned_at = models.DateTimeField(null=True)
    outcome = models.CharField(max_length=8, choices=Outcome, blank=True, default="")

    class Meta:
        ordering = ("pk",)
        indexes = (models.Index(fields=("id",), condition=models.Q(planned_at=None), name="notices_that_wait"),)

    def __str__(self) -> str:
        return f"{self.what} of alert {self.alert_id}"


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    def claimable(self, now: object) -> DeliveryQuerySet:
        """Due, or left behind by a worker that died with it."""
        is_due = models.Q(state=Delivery.State.WAITING, due_at__lte=now)
        return self.filter(is_due | models.Q(state=Delivery.State.SENDING, leased_until__lt=now))

    def told(self) -> DeliveryQuerySet:
        """As the log shows them: with target and how many alerts they speak of."""
        counted = self.annotate(n_alerts=models.Count("mentions__alert", distinct=True))
        return counted.select_related("target").order_by("-pk")

    def open_to_more(self) -> DeliveryQuerySet:
        return self.filter(state=Delivery.State.WAITING, n_tries=0)


class Delivery(models.Model):
    """One message to one target, and what became of it. It gathers alerts until it is due, then it is fixed."""

    class State(models.TextChoices):
        WAITING = "waiting"
        SENDING = "sending"
        SENT = "sent"
        FAILED = "failed"

    key = models.CharField(max_length=200, unique=True, help_text="The same at every try, for receivers to know")
    target = models.ForeignKey(Target, models.CASCADE, related_name="deliveries")
    group = models.CharField(max_length=80, db_index=True, help_text="incident:7, digest, or test")
    what = models.CharField(max_length=12)
    state = models.CharField(max_length=8, choices=State, default=State.WAITING)
    made_at = models.DateTimeField()
    due_at = models.DateTimeField()
    leased_until = models.DateTimeField(null=True)
    sent_at = models.DateTimeField(null=True)
    n_tries = models.PositiveIntegerField(default=0)
    trouble = models.CharField(max_length=400, blank=True, help_text="Why the last try failed")
    message = models.JSONField(null=True, help_text="As it was first sent: tries and redeliveries send the same")
    alerts = models.ManyToManyField("alerts.Alert", through="Mention", related_name="deliveries")

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        ordering = ("-pk",)
        verbose_name_plural = "deliveries"
        indexes = (models.Index(fields=("state", "due_at")),)

    def __str__(self) -> str:
        return self.key


class Mention(models.Model):
    """That a message speaks of an alert."""

    delivery = models.ForeignKey(Delivery, models.CASCADE, related_name="mentions")
    alert = models.ForeignKey("alerts.Alert", models.CASCADE, related_name="mentions")
    what = models.CharField(max_length=12)

    class Meta:
        ordering = ("pk",)
        constraints = (models.UniqueConstraint(fields=("delivery", "alert", "what"), name="alert_once_a_message"),)

    def __str__(self) -> str:
        return f"{self.what} of {self.alert_id} in {self.delivery_id}"
