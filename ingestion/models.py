"""How far each partition is, what was put aside, and the books."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from ingestion.capability.models import CapabilityTable as CapabilityTable  # one module a subject, one app
from ingestion.detecting.models import DetectRun as DetectRun


class Checkpoint(models.Model):
    """How far a partition is processed, with the engine state at that point. One row a partition.

    `epoch` fences: whoever takes the partition raises it, and a writer with an older one is refused.
    """

    topic = models.CharField(max_length=200)
    partition = models.PositiveIntegerField()
    next_offset = models.PositiveBigIntegerField(default=0)
    epoch = models.PositiveBigIntegerField(default=0)
    owner = models.CharField(max_length=120, blank=True)
    topic_id = models.CharField(
        max_length=64, blank=True, help_text="The broker's id of the topic these offsets count in"
    )
    configuration = models.JSONField(default=dict, help_text="Fleet revision and model versions that scored up to here")
    snapshot = models.ForeignKey("StateSnapshot", models.SET_NULL, null=True, blank=True, related_name="+")
    saved_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("topic", "partition")
        constraints = (models.UniqueConstraint(fields=("topic", "partition"), name="one_checkpoint_a_partition"),)

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}@{self.next_offset}"


class Booked(models.Model):
    """Until which message the books know a topic; outlives the checkpoint, so that none is booked again."""

    topic = models.CharField(max_length=200)
    topic_id = models.CharField(max_length=64, help_text="The broker's id of the topic: made anew, it counts anew")
    partition = models.PositiveIntegerField()
    next_offset = models.PositiveBigIntegerField()
    received_at = models.DateTimeField(help_text="When the newest message that is booked came")

    class Meta:
        ordering = ("topic", "partition")
        verbose_name_plural = "booked"
        constraints = (models.UniqueConstraint(fields=("topic", "topic_id", "partition"), name="booked_once"),)

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}@{self.next_offset}"


class StateSnapshot(models.Model):
    """Engine state of a partition just before an offset; the arrays lie in the artefact storage."""

    topic = models.CharField(max_length=200)
    topic_id = models.CharField(max_length=64, blank=True)
    partition = models.PositiveIntegerField()
    next_offset = models.PositiveBigIntegerField()
    blob = models.CharField(max_length=300, help_text="Name in the artefact storage")
    sha256 = models.CharField(max_length=64)
    size = models.PositiveBigIntegerField()
    taken_at = models.DateTimeField()

    class Meta:
        ordering = ("topic", "partition", "-next_offset")
        indexes = (models.Index(fields=("topic", "partition", "next_offset")),)

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}@{self.next_offset}"


class Quarantined(models.Model):
    """A message that is no reading, with the reason; or one held until somebody adopts its mote."""

    class Status(models.TextChoices):
        QUARANTINED = "quarantined"
        HELD = "held"
        REPLAYED = "replayed"
        DISCARDED = "discarded"

    topic = models.CharField(max_length=200)
    topic_id = models.CharField(max_length=64, blank=True, help_text="The broker's id of the topic at that time")
    partition = models.PositiveIntegerField()
    offset = models.PositiveBigIntegerField()
    received_at = models.DateTimeField()
    reason = models.CharField(max_length=32, db_index=True)
    detail = models.CharField(max_length=300, blank=True)
    mote_code = models.CharField(max_length=64, blank=True)
    site = models.CharField(max_length=64, blank=True, help_text="As the message names it, or its mote's")
    payload = models.BinaryField()
    size = models.PositiveBigIntegerField(help_text="Bytes of the whole message; the payload kept may be its head only")
    status = models.CharField(max_length=16, choices=Status, default=Status.QUARANTINED)
    came_from = models.ForeignKey(
        "self",
        models.DO_NOTHING,
        null=True,
        blank=True,
        db_constraint=False,
        db_index=False,
        related_name="returned",
        help_text="The message that was sent again and has ended here; it may have been forgotten since",
    )
    settled_at = models.DateTimeField(null=True, blank=True, help_text="When it was replayed or discarded")
    settled_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+", help_text="Empty: SIEIS"
    )
    went_to = models.CharField(max_length=300, blank=True, help_text="The stream and key with which it was sent again")
    is_repaired = models.BooleanField(default=False, help_text="Whether what was sent again differs from what came")
    taken_by = models.CharField(max_length=32, blank=True, help_text="Who is sending it again at this moment")
    taken_until = models.DateTimeField(null=True, blank=True)

    WAITING = (Status.QUARANTINED, Status.HELD)

    class Meta:
        ordering = ("-received_at", "-offset")
        verbose_name_plural = "quarantined messages"
        constraints = (
            models.UniqueConstraint(fields=("topic", "topic_id", "partition", "offset"), name="quarantined_once"),
        )
        indexes = (
            models.Index(fields=("status", "reason", "site", "mote_code", "topic", "received_at"), name="aside_kind"),
            models.Index(fields=("mote_code", "status"), name="aside_mote"),
            models.Index(fields=("received_at",), name="aside_received"),
            models.Index(fields=("came_from",), name="aside_came_from", condition=models.Q(came_from__isnull=False)),
            models.Index(fields=("taken_by",), name="aside_taken", condition=~models.Q(taken_by="")),
        )

    def __str__(self) -> str:
        return f"{self.place} {self.reason}"

    @property
    def place(self) -> str:
        """Where it stood in the stream."""
        return f"{self.topic}/{self.partition}@{self.offset}"

    @property
    def waits(self) -> bool:
        return self.status in self.WAITING

    @property
    def is_whole(self) -> bool:
        """Whether the payload kept is the whole message."""
        return len(self.payload) >= self.size


class NotKept(models.Model):
    """Messages beyond the quarantine's cap: only counted, by reason and hour of arrival. They lie in the lake."""

    topic = models.CharField(max_length=200)
    topic_id = models.CharField(max_length=64, blank=True)
    partition = models.PositiveIntegerField()
    hour = models.DateTimeField()
    reason = models.CharField(max_length=32)
    n = models.PositiveBigIntegerField(default=0)
    next_offset = models.PositiveBigIntegerField(default=0, help_text="Below it a message read again is not counted")

    class Meta:
        ordering = ("-hour", "reason")
        verbose_name_plural = "messages not kept"
        constraints = (
            models.UniqueConstraint(fields=("topic", "topic_id", "partition", "hour", "reason"), name="not_kept_once"),
        )

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H}h {self.reason}: {self.n}"


class ReplayJob(models.Model):
    """Sending again all put-aside messages of a kind, in chunks. One at a time."""

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"

    asked = models.JSONField(default=dict, help_text="The filters that say which messages")
    last_id = models.PositiveBigIntegerField(help_text="Newer messages are not looked at: they may be replays of these")
    state = models.CharField(max_length=16, choices=State, default=State.QUEUED)
    who = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")
    asked_at = models.DateTimeField()
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    done_at = models.DateTimeField(null=True, blank=True)
    n_asked = models.PositiveBigIntegerField(default=0)
    n_sent = models.PositiveBigIntegerField(default=0)
    left = models.JSONField(default=dict, help_text="How many stayed, by the reason why sending them would not help")
    error = models.TextField(blank=True)

    class Meta:
        ordering = ("-pk",)
        constraints = (
            models.UniqueConstraint(
                models.Value(1), condition=models.Q(state__in=("queued", "running")), name="one_unfinished_replay_job"
            ),
        )

    def __str__(self) -> str:
        return f"replay {self.pk} of {self.asked_at:%Y-%m-%d %H:%M}"

    @property
    def is_unfinished(self) -> bool:
        return self.state in (self.State.QUEUED, self.State.RUNNING)

    @property
    def n_left(self) -> int:
        return sum(self.left.values())

    @property
    def progress(self) -> float:
        return min((self.n_sent + self.n_left) / self.n_asked, 1.0) if self.n_asked else 0.0


class ImportJob(models.Model):
    """Files of history on their way in: what was foretold of them, how far they are, what became of their rows."""

    class State(models.TextChoices):
        LOOKED = "looked"
        QUEUED = "queued"
        RUNNING = "running"
        STOPPED = "stopped"
        FAILED = "failed"
        DONE = "done"

    RESUMABLE = (State.STOPPED, State.FAILED)

    asked = models.JSONField(default=dict, help_text="Pack, site and how the files are to be read")
    files = models.JSONField(default=list, help_text="Name, sha256 and rows of each, and where it is kept meanwhile")
    fingerprint = models.CharField(max_length=64, help_text="The same for the same files that are read the same way")
    profile = models.CharField(max_length=50)
    site = models.CharField(max_length=50)
    foretold = models.JSONField(default=dict, help_text="What was recognised, and what will become of each row")
    state = models.CharField(max_length=16, choices=State, default=State.LOOKED)
    trigger = models.CharField(max_length=16, default="person", help_text="person, api or command")
    who = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")
    asked_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    done_at = models.DateTimeField(null=True, blank=True)
    seconds = models.FloatField(default=0.0, help_text="At work, in all its turns")
    wants_stop = models.BooleanField(default=False)
    step = models.CharField(max_length=60, blank=True)
    n_step_done = models.PositiveBigIntegerField(default=0)
    n_step_total = models.PositiveBigIntegerField(default=0)
    n_rows = models.PositiveBigIntegerField(default=0)
    n_sent = models.PositiveBigIntegerField(default=0, help_text="Rows that are surely in the stream; the next is sent")
    n_through = models.PositiveBigIntegerField(default=0, help_text="Its messages that are through the path")
    n_waiting = models.PositiveBigIntegerField(default=0, help_text="Its messages that wait in the stream")
    n_left_over = models.PositiveBigIntegerField(
        default=0, help_text="Messages of interrupted imports, brought in first"
    )
    became = models.JSONField(default=dict, help_text="What became of those that are through, by the books")
    installed = models.JSONField(default=list, help_text="Motes and sites that it registered, in words")
    leg = models.JSONField(default=dict, help_text="Where stream and books stood when it began to send; empty: settled")
    tail = models.JSONField(
        default=dict, help_text="The stretch of stream in which rows lie that n_sent does not count"
    )
    error = models.TextField(blank=True)

    class Meta:
        ordering = ("-pk",)
        indexes = (models.Index(fields=("state",), name="import_state"),)

    def __str__(self) -> str:
        return f"import {self.pk} of {self.asked_at:%Y-%m-%d %H:%M}"

    @property
    def is_unfinished(self) -> bool:
        return self.state in (self.State.QUEUED, self.State.RUNNING)

    @property
    def is_resumable(self) -> bool:
        return self.state in self.RESUMABLE

    @property
    def is_complete(self) -> bool:
        return self.n_sent == self.n_rows and not self.n_waiting and not self.leg

    @property
    def n_again(self) -> int:
        """Sent a second time, because whether they had arrived could not be known."""
        return max(self.n_through + self.n_waiting - self.n_sent, 0)

    @property
    def is_accounted(self) -> bool:
        return sum(self.became.values()) == self.n_through

    @property
    def progress(self) -> float:
        """Sending counts a tenth: judging and storing decides."""
        done = self.n_step_done / self.n_step_total if self.n_step_total else 0.0
        return round(0.1 * done if self.step == "Sending" else 0.1 + 0.9 * done if self.step else 0.0, 3)


class LedgerHour(models.Model):
    """The books of an hour, profile and partition: received = stored + quarantined + duplicate + held."""

    hour = models.DateTimeField(help_text="Of measurement where known, else of arrival")
    profile = models.CharField(max_length=50, blank=True, help_text="Empty where the message did not say")
    topic = models.CharField(max_length=200)
    partition = models.PositiveIntegerField()
    received = models.PositiveBigIntegerField(default=0)
    stored = models.PositiveBigIntegerField(default=0)
    quarantined = models.PositiveBigIntegerField(default=0)
    duplicate = models.PositiveBigIntegerField(default=0)
    held = models.PositiveBigIntegerField(default=0)
    motes = models.JSONField(default=dict, help_text="Readings stored by mote key")
    others = models.JSONField(
        default=dict, help_text="duplicate and quarantined by mote key, held by the code that was given; “”: not known"
    )

    class Meta:
        ordering = ("-hour", "profile")
        verbose_name = "ledger hour"
        constraints = (
            models.UniqueConstraint(fields=("hour", "profile", "topic", "partition"), name="ledger_hour_once"),
        )

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H}h {self.profile or '—'} {self.topic}/{self.partition}"


class Reconciliation(models.Model):
    """A recount of both stores against the books: what differed, and what was healed."""

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"

    profile = models.ForeignKey(
        "sensors.Profile", models.CASCADE, null=True, blank=True, related_name="+", help_text="Empty: all"
    )
    site = models.ForeignKey(
        "sensors.Site", models.CASCADE, null=True, blank=True, related_name="+", help_text="Empty: all"
    )
    starts_at = models.DateTimeField(null=True, blank=True, help_text="Full hour; empty: from the first reading")
    ends_at = models.DateTimeField(null=True, blank=True, help_text="Full hour; empty: to the newest reading")
    heals = models.BooleanField(default=False)
    state = models.CharField(max_length=16, choices=State, default=State.QUEUED)
    trigger = models.CharField(max_length=16, default="person", help_text="person, command, api or schedule")
    who = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")
    asked_at = models.DateTimeField()
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    done_at = models.DateTimeField(null=True, blank=True)
    seconds = models.FloatField(null=True, blank=True)
    n_readings = models.PositiveBigIntegerField(default=0, help_text="Counted in the lake")
    n_hours = models.PositiveIntegerField(default=0, help_text="Hours that were compared")
    n_differing = models.PositiveIntegerField(default=0, help_text="Hours that differed")
    n_left = models.PositiveIntegerField(default=0, help_text="Hours that still differ")
    did = models.JSONField(default=list, help_text="What was healed, and what could not be, in sentences")
    error = models.TextField(blank=True)

    class Meta:
        ordering = ("-pk",)
        constraints = (
            models.UniqueConstraint(
                fields=("heals",),
                condition=models.Q(state__in=("queued", "running")),
                name="one_unfinished_reconciliation",
            ),
        )

    def __str__(self) -> str:
        return f"reconciliation {self.pk} of {self.asked_at:%Y-%m-%d %H:%M}"


class HourDifference(models.Model):
    """An hour in which books and stores do not tell the same; one row an hour, kept when it is equal again."""

    profile = models.ForeignKey("sensors.Profile", models.CASCADE, related_name="+")
    site = models.ForeignKey("sensors.Site", models.CASCADE, related_name="+")
    hour = models.DateTimeField()
    booked = models.PositiveBigIntegerField(help_text="Stored, as the books say")
    cold = models.PositiveBigIntegerField(help_text="In the lake")
    due = models.PositiveBigIntegerField(help_text="Of those the hot store must still have")
    hot = models.PositiveBigIntegerField(help_text="Has the hot store of those")
    motes = models.JSONField(default=list, help_text="The motes that differ, with the same four counts")
    found_at = models.DateTimeField()
    seen_at = models.DateTimeField()
    found_by = models.ForeignKey(Reconciliation, models.SET_NULL, null=True, related_name="+")
    equal_at = models.DateTimeField(null=True, blank=True)
    equal_by = models.ForeignKey(Reconciliation, models.SET_NULL, null=True, blank=True, related_name="+")

    class Meta:
        ordering = ("-hour", "profile", "site")
        constraints = (models.UniqueConstraint(fields=("profile", "site", "hour"), name="hour_difference_once"),)

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H}h: booked {self.booked}, cold {self.cold}, hot {self.hot} of {self.due}"


class QualityReport(models.Model):
    """What a validation of a stretch of data found: every check with figure, limit and verdict. Kept and compared."""

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"

    profile = models.ForeignKey("sensors.Profile", models.CASCADE, related_name="quality_reports")
    profile_version = models.PositiveIntegerField(default=0, help_text="By whose ranges it was judged")
    site = models.ForeignKey(
        "sensors.Site", models.CASCADE, null=True, blank=True, related_name="quality_reports", help_text="Empty: all"
    )
    starts_at = models.DateTimeField(null=True, blank=True, help_text="Asked for; empty: from the first reading")
    ends_at = models.DateTimeField(null=True, blank=True, help_text="Asked for; empty: to the newest reading")
    interval_s = models.FloatField(
        null=True, blank=True, help_text="Seconds between two readings that were asked to be expected; empty: see docs"
    )
    state = models.CharField(max_length=16, choices=State, default=State.QUEUED)
    trigger = models.CharField(max_length=16, default="person", help_text="person, command, api or schedule")
    who = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")
    asked_at = models.DateTimeField()
    done_at = models.DateTimeField(null=True, blank=True)
    seconds = models.FloatField(null=True, blank=True)
    progress = models.FloatField(default=0.0)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    n_readings = models.PositiveBigIntegerField(default=0)
    quality_percent = models.FloatField(null=True, blank=True)
    has_passed = models.BooleanField(null=True)
    checks = models.JSONField(default=list)
    detail = models.JSONField(default=dict, help_text="Per mote and channel, and the range that was found")
    error = models.TextField(blank=True)

    class Meta:
        ordering = ("-pk",)
        indexes = (models.Index(fields=("profile", "site", "-asked_at")),)
        constraints = (
            models.UniqueConstraint(
                fields=("profile", "site"),
                condition=models.Q(state__in=("queued", "running")),
                name="one_unfinished_report_a_scope",
            ),
        )

    def __str__(self) -> str:
        return f"{self.profile.code} {self.site.code if self.site else 'all sites'} {self.asked_at:%Y-%m-%d %H:%M}"


class DeviceKey(models.Model):
    """What a mote or a gateway sends readings with by HTTP. The secret is shown once and kept as its hash only."""

    name = models.CharField(max_length=120, help_text="Whose key it is, for people")
    public_id = models.CharField(max_length=16, unique=True, help_text="The part of the key that may be seen")
    secret_sha256 = models.CharField(max_length=64)
    site = models.ForeignKey("sensors.Site", models.CASCADE, related_name="device_keys")
    mote = models.ForeignKey(
        "sensors.Mote", models.CASCADE, null=True, blank=True, related_name="device_keys",
        help_text="Empty: a gateway that speaks for all motes of the site",
    )  # fmt: skip
    made_at = models.DateTimeField()
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")
    last_used_at = models.DateTimeField(null=True, blank=True, help_text="To the minute")
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoked_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")

    class Meta:
        ordering = ("-pk",)

    def __str__(self) -> str:
        return f"{self.name} ({self.public_id})"


class IntakeReceipt(models.Model):
    """What a device was answered under an idempotency key: a retry gets the same answer, and nothing goes in twice."""

    key = models.ForeignKey(DeviceKey, models.CASCADE, related_name="receipts")
    idempotency_key = models.CharField(max_length=200)
    body_sha256 = models.CharField(max_length=64)
    answer = models.JSONField(null=True, blank=True, help_text="Empty while the first request is under way")
    made_at = models.DateTimeField(db_index=True)

    class Meta:
        ordering = ("-pk",)
        constraints = (models.UniqueConstraint(fields=("key", "idempotency_key"), name="one_receipt_a_key"),)

    def __str__(self) -> str:
        return f"{self.key.public_id} {self.idempotency_key}"
