"""The addresses of training and of single predictions, below /api/v1/, and those of the smoke system."""

from django.urls import path

from mlops import api, budget_api, calibration_api, predict_api, tracing_api
from mlops.forecasts import api as forecasts_api
from mlops.forecasts import record_api

urlpatterns = [
    path("models/rollback", api.RollBack.as_view(), name="model-rollback"),
    path("models/<path:name>/bundle", api.Bundle.as_view(), name="model-bundle"),
    path("ml/forecast", forecasts_api.OwnForecast.as_view(), name="own-forecast"),
    path("ml/predict/anomaly", predict_api.Predict.as_view(), name="predict"),
    path("ml/predict/batch", predict_api.PredictMany.as_view(), name="predict-batch"),
    path("ml/model/info", predict_api.ModelInfo.as_view(), name="model-info"),
    path("ml/calibration", calibration_api.Calibration.as_view(), name="calibration"),
    path("ml/alert-budget", budget_api.AlertBudget.as_view(), name="alert-budget"),
    path("ml/alert-budget/undo", budget_api.UndoBudget.as_view(), name="alert-budget-undo"),
    path("ml/alert-budget/history", budget_api.BudgetStory.as_view(), name="alert-budget-history"),
    path("risks", record_api.Risks.as_view(), name="risks"),
    path("ml/forecast/accuracy", record_api.ForecastAccuracy.as_view(), name="forecast-accuracy"),
    path("ml/scored", tracing_api.ScoredBy.as_view(), name="scored-by"),
    path("ml/train", api.Retrain.as_view(), name="train"),
    path("ml/retrain", api.Retrain.as_view(), name="retrain"),
    path("ml/jobs", api.Jobs.as_view(), name="jobs"),
    path("ml/jobs/<int:pk>", api.Job.as_view(), name="job"),
    path("ml/jobs/<int:pk>/cancel", api.CancelJob.as_view(), name="job-cancel"),
]
smoke_urlpatterns = [
    path("predict", predict_api.SmokePredict.as_view(), name="smoke-predict"),
    path("model/info", predict_api.SmokeModelInfo.as_view(), name="smoke-model-info"),
]
