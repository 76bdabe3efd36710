"""The pages of imports: the list with its form, and one import from its dry run to its result."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.files.storage import default_storage
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from ingestion.importing import jobs
from ingestion.models import ImportJob
from ingestion.pages import import_page
from ingestion.pages.import_page import AskForm
from sensors.roles import ENGINEERING, demand, may, person, role_required
from sensors.uploads import takes_files

ON_A_PAGE = 25
JOBS = ImportJob.objects.select_related("who")


@takes_files(jobs.LARGEST)
@require_http_methods(["GET", "HEAD", "POST"])
@role_required()
def imports(request: HttpRequest) -> HttpResponse:
    """The list; a POST keeps files, looks at them and leads to what was seen."""
    form, trouble = AskForm(request.POST if request.method == "POST" else None), ""
    if request.method == "POST":
        demand(request.user, ENGINEERING)
        if form.is_valid():
            try:
                job = jobs.keep(
                    request.FILES.getlist("files"), form.asked(), storage=default_storage, who=person(request),
                    trigger="person", now=timezone.now(),
                )  # fmt: skip
                return redirect("import", job.pk)
            except (*jobs.REFUSALS, ValidationError) as refusal:
                trouble = jobs.words_of(refusal)
    found = Paginator(JOBS.defer("foretold"), ON_A_PAGE).get_page(request.GET.get("page"))
    shown = {"page": found, "rows": [import_page.Row(job) for job in found.object_list]}
    asked = import_page.form_context(form, trouble)
    return render(request, "imports/list.html", {**shown, **asked, "may_import": may(request.user, ENGINEERING)})


@require_http_methods(["GET", "HEAD", "POST"])
@role_required()
def one_import(request: HttpRequest, pk: int) -> HttpResponse:
    """An import; a POST looks again, starts, stops or discards it."""
    job, trouble = get_object_or_404(JOBS, pk=pk), ""
    form = AskForm(request.POST if request.POST.get("deed") == "look" else job.asked)
    if request.method == "POST":
        demand(request.user, ENGINEERING)
        try:
            return _done(request, job, form)
        except (*jobs.REFUSALS, ValidationError) as refusal:
            trouble = jobs.words_of(refusal)
    shown = {**import_page.context(job), **import_page.form_context(form, trouble)}
    return render(request, "imports/import.html", {**shown, "may_import": may(request.user, ENGINEERING)})


def _done(request: HttpRequest, job: ImportJob, form: AskForm) -> HttpResponse:
    who, now = person(request), timezone.now()
    match request.POST.get("deed"):
        case "look" if form.is_valid():
            jobs.look_again(job, form.asked(), storage=default_storage, now=now)
        case "start":
            jobs.start(job, who=who, now=now)
            jobs.dispatch(job)
        case "stop":
            jobs.ask_to_stop(job, who=who, now=now)
        case "forget":
            jobs.forget(job, storage=default_storage, who=who, now=now)
            messages.info(request, "Discarded. What is stored already stays.")
            return redirect("imports")
    return redirect("import", job.pk)
