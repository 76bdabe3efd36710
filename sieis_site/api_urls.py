"""Every address of the API, below /api/v1/."""

from django.urls import path, re_path
from drf_spectacular.views import SpectacularAPIView

from alerts import acting_api as acting
from alerts import api as alerts
from alerts.grouping import api as grouping
from alerts.notifying import api as notifying
from alerts.rules import api as rules
from alerts.silencing import api as silencing
from ingestion.api import books_api as books
from ingestion.api import capability_api as capability
from ingestion.api import detect_api as detecting
from ingestion.api import evidence_api as evidence
from ingestion.api import health_api as ingestion
from ingestion.api import import_api as imports
from ingestion.api import intake_api as intake
from ingestion.api import machines_api as machines
from ingestion.api import quarantine_api as quarantine
from ingestion.api import report_api as quality
from ingestion.api import rules_api as backtests
from ingestion.api import tour_api as tour
from mlops import analytics_api as patterns
from mlops import api as mlops
from mlops import ml_urls
from mlops import root_cause_api as root_cause
from mlops import watch_urls as watch
from mlops.forecasts import api as forecasts
from sensors import account_api as account
from sensors import analytics_api as summaries
from sensors import api as sensors
from sensors import audit_api as audit
from sensors import mote_import_api as fleets
from sensors import profile_api as profiles
from sensors import readings_api as readings
from sensors import stream_api as streams
from sensors import token_api as tokens
from sensors.problems import NoSuchAddress

app_name = "api"
urlpatterns = [
    *watch.urlpatterns,
    path("health", ingestion.HealthView.as_view(), name="health"),
    path("motes", sensors.Motes.as_view(), name="motes"),
    path("motes/import", fleets.MotesImport.as_view(), name="motes-import"),
    path("motes/export", fleets.MotesExport.as_view(), name="motes-export"),
    path("motes/<str:mote>/forecast", forecasts.MoteForecast.as_view(), name="mote-forecast"),
    path("motes/<slug:site>/<str:mote>", sensors.OneMote.as_view(), name="mote"),
    path("motes/<slug:site>/<str:mote>/grades", sensors.Grades.as_view(), name="mote-grades"),
    path("machines", machines.Machines.as_view(), name="machines"),
    path("machines/history", machines.MachineHistory.as_view(), name="machines-history"),
    path("corrections", sensors.Corrections.as_view(), name="corrections"),
    path("corrections/<int:pk>", sensors.OneCorrection.as_view(), name="correction"),
    path("profiles", profiles.Profiles.as_view(), name="profiles"),
    path("profiles/<slug:code>", profiles.OneProfile.as_view(), name="profile"),
    path("stream", streams.Stream.as_view(), name="stream"),
    path("sensors/latest", sensors.LatestOfAll.as_view(), name="latest"),
    path("sensors/readings", readings.Readings.as_view(), name="readings"),
    path("sensors/<str:mote>/latest", sensors.LatestOfMote.as_view(), name="mote-latest"),
    path("sensors/export", summaries.Download.as_view(), name="export"),
    path("sensors/<str:mote>/stats", summaries.Stats.as_view(), name="mote-stats"),
    path("analytics/daily-summary", summaries.DailySummary.as_view(), name="daily-summary"),
    path("analytics/heatmap", summaries.Heatmap.as_view(), name="heatmap"),
    path("analytics/histogram", summaries.Histogram.as_view(), name="histogram"),
    path("analytics/root-cause", root_cause.RootCause.as_view(), name="root-cause"),
    path("analytics/seasonality", patterns.Seasonality.as_view(), name="seasonality"),
    path("analytics/correlation", patterns.Correlation.as_view(), name="correlation"),
    path("analytics/trend", summaries.Trend.as_view(), name="trend"),
    path("alerts", alerts.Alerts.as_view(), name="alerts"),
    path("alerts/export", alerts.Export.as_view(), name="alerts-export"),
    path("alerts/figures", alerts.AlarmFigures.as_view(), name="alerts-figures"),
    path("alerts/bulk", acting.ActOnMany.as_view(), name="alerts-bulk"),
    path("alerts/<int:pk>", alerts.OneAlert.as_view(), name="alert"),
    path("alerts/<int:pk>/evidence", evidence.AllEvidence.as_view(), name="alert-evidence"),
    path("alerts/<int:pk>/evidence/<int:evidence>", evidence.OneEvidence.as_view(), name="evidence"),
    path("alerts/<int:pk>/acknowledge", acting.Acknowledge.as_view(), name="alert-acknowledge"),
    path("alerts/<int:pk>/start", acting.Start.as_view(), name="alert-start"),
    path("alerts/<int:pk>/resolve", acting.Resolve.as_view(), name="alert-resolve"),
    path("alerts/<int:pk>/close", acting.Close.as_view(), name="alert-close"),
    path("alerts/<int:pk>/reopen", acting.Reopen.as_view(), name="alert-reopen"),
    path("alerts/<int:pk>/assign", acting.Assign.as_view(), name="alert-assign"),
    path("alerts/<int:pk>/comment", acting.Comment.as_view(), name="alert-comment"),
    path("alerts/<int:pk>/snooze", acting.Snooze.as_view(), name="alert-snooze"),
    path("alerts/<int:pk>/wake", acting.Wake.as_view(), name="alert-wake"),
    path("alerts/<int:pk>/judge", acting.Judge.as_view(), name="alert-judge"),
    path("incidents", grouping.Incidents.as_view(), name="incidents"),
    path("incidents/<int:pk>", grouping.OneIncident.as_view(), name="incident"),
    path("rules", rules.Rules.as_view(), name="rules"),
    path("rules/backtest", backtests.BacktestRule.as_view(), name="rule-backtest"),
    path("rules/carried", rules.CarriedRules.as_view(), name="rules-carried"),
    path("rules/<int:pk>", rules.OneRule.as_view(), name="rule"),
    path("silences", silencing.Silences.as_view(), name="silences"),
    path("silences/preview", silencing.PreviewSilence.as_view(), name="silence-preview"),
    path("silences/<int:pk>/lift", silencing.LiftSilence.as_view(), name="silence-lift"),
    path("notifications/targets", notifying.Targets.as_view(), name="targets"),
    path("notifications/targets/<int:pk>", notifying.OneTarget.as_view(), name="target"),
    path("notifications/targets/<int:pk>/test", notifying.TestTarget.as_view(), name="target-test"),
    path("notifications/routes", notifying.Routes.as_view(), name="routes"),
    path("notifications/routes/<int:pk>", notifying.OneRoute.as_view(), name="route"),
    path("notifications/deliveries", notifying.Deliveries.as_view(), name="deliveries"),
    path("notifications/deliveries/<int:pk>/redeliver", notifying.Redeliver.as_view(), name="redeliver"),
    path("notifications/waiting", notifying.Waiting.as_view(), name="waiting"),
    path("models", mlops.Models.as_view(), name="models"),
    path("models/<path:name>/promote", mlops.Promote.as_view(), name="model-promote"),
    path("ml/capability", capability.Capability.as_view(), name="capability"),
    path("ml/detect", detecting.Detect.as_view(), name="detect"),
    path("ml/detect/<int:pk>", detecting.OneDetectRun.as_view(), name="detect-run"),
    *ml_urls.urlpatterns,
    path("quarantine", quarantine.Quarantine.as_view(), name="quarantine"),
    path("quarantine/kinds", quarantine.Kinds.as_view(), name="quarantine-kinds"),
    path("quarantine/replay", quarantine.Replay.as_view(), name="quarantine-replay"),
    path("quarantine/jobs/<int:pk>", quarantine.OneReplayJob.as_view(), name="quarantine-job"),
    path("quarantine/discard", quarantine.Discard.as_view(), name="quarantine-discard"),
    path("quarantine/adopt", quarantine.Adopt.as_view(), name="quarantine-adopt"),
    path("quarantine/<int:pk>", quarantine.OneQuarantined.as_view(), name="quarantine-message"),
    path("quarantine/<int:pk>/check", quarantine.Check.as_view(), name="quarantine-check"),
    path("quarantine/<int:pk>/replay", quarantine.ReplayOne.as_view(), name="quarantine-replay-one"),
    path("quarantine/<int:pk>/discard", quarantine.DiscardOne.as_view(), name="quarantine-discard-one"),
    path("imports", imports.Imports.as_view(), name="imports"),
    path("imports/<int:pk>", imports.OneImport.as_view(), name="import"),
    path("imports/<int:pk>/start", imports.StartImport.as_view(), name="import-start"),
    path("imports/<int:pk>/stop", imports.StopImport.as_view(), name="import-stop"),
    path("ingest", intake.Ingest.as_view(), name="ingest"),
    path("devices", intake.DeviceKeys.as_view(), name="devices"),
    path("devices/<int:pk>", intake.OneDeviceKey.as_view(), name="device"),
    path("demo/fault", tour.DemoFault.as_view(), name="demo-fault"),
    path("books", books.Books.as_view(), name="books"),
    path("reconciliations", books.Reconciliations.as_view(), name="reconciliations"),
    path("reconciliations/<int:pk>", books.OneReconciliation.as_view(), name="reconciliation"),
    path("quality/reports", quality.Reports.as_view(), name="quality-reports"),
    path("quality/reports/<int:pk>", quality.OneReport.as_view(), name="quality-report"),
    path("quality/reports/<int:pk>/readings", quality.FailingReadings.as_view(), name="quality-readings"),
    path("audit", audit.Audit.as_view(), name="audit"),
    path("audit/export", audit.AuditExport.as_view(), name="audit-export"),
    path("account", account.Account.as_view(), name="account"),
    path("account/sessions", account.Logins.as_view(), name="account-sessions"),
    path("tokens", tokens.Tokens.as_view(), name="tokens"),
    path("tokens/<int:pk>", tokens.OneToken.as_view(), name="token"),
    path("schema", SpectacularAPIView.as_view(), name="schema"),
    re_path("", NoSuchAddress.as_view(), name="unknown"),
]
