"""The addresses of the pages that watch models."""

from django.urls import path

from ingestion.pages import budget_page, drift_page, retraining_page, review_page

urlpatterns = [
    path("models/watch/", retraining_page.watching, name="watching"),
    path("models/watch/policy/<slug:code>", retraining_page.change_policy, name="watching-policy"),
    path("models/budget/", budget_page.budget, name="model-budget"),
    path("models/budget/apply", budget_page.apply, name="model-budget-apply"),
    path("models/budget/undo", budget_page.undo, name="model-budget-undo"),
    path("models/drift/", drift_page.drift, name="drift"),
    path("models/review/", review_page.review, name="review"),
    path("models/review/start", review_page.start, name="review-start"),
    path("models/review/<int:pk>/stop", review_page.stop, name="review-stop"),
    path("models/review/<int:pk>/settle", review_page.settle, name="review-settle"),
    path("models/compare/<path:name>/", retraining_page.comparison, name="comparison"),
]
