"""The pages of a model's making."""

from django.urls import path

from ingestion.pages import training_page

urlpatterns = [
    path("models/training/", training_page.trainings, name="training"),
    path("models/training/start", training_page.start, name="training-start"),
    path("models/beside/", training_page.beside, name="model-beside"),
    path("models/scored/", training_page.scored, name="model-scored"),
    path("models/card/<path:name>/", training_page.card, name="model-card"),
]
