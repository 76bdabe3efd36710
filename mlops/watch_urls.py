"""The addresses of watching models, below /api/v1/."""

from django.urls import path

from mlops import watch_api as watch

urlpatterns = [
    path("models/<path:name>/comparison", watch.Comparison.as_view(), name="model-comparison"),
    path("models/<path:name>/validations", watch.Validations.as_view(), name="model-validations"),
    path("ml/shadows", watch.Shadows.as_view(), name="shadows"),
    path("ml/shadows/<int:pk>/stop", watch.StopShadow.as_view(), name="shadow-stop"),
    path("ml/reviews", watch.Reviews.as_view(), name="reviews"),
    path("ml/reviews/<int:pk>/settle", watch.SettleReview.as_view(), name="review-settle"),
    path("ml/drift", watch.Drift.as_view(), name="drift"),
    path("ml/policies", watch.Policies.as_view(), name="policies"),
    path("ml/policies/<slug:profile>", watch.OnePolicy.as_view(), name="policy"),
    path("ml/precision", watch.Precision.as_view(), name="precision"),
    path("labels", watch.Labels.as_view(), name="labels"),
]
