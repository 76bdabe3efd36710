"""What every command and process pays before it does anything."""

import subprocess
import sys

from tests.stack import ROOT

DEAR = ("sklearn", "scipy.stats", "pandas", "torch", "statsforecast")
ALL_OF_IT = f"""
import sys
import django
django.setup()
import sieis_site.urls
print([name for name in {DEAR} if name in sys.modules])
"""


def test_no_process_loads_what_only_training_needs():
    said = subprocess.run([sys.executable, "-c", ALL_OF_IT], cwd=ROOT, capture_output=True, text=True, check=True)

    assert said.stdout == "[]\n"


WHAT_BEAT_DOES = """
import sys
sys.argv = ["celery", "-A", "sieis_site", "beat"]
from sieis_site.celery import app
app.loader.init_worker()
from sieis_site.beating import Scheduler
print([name for name in ("numba", "scipy", "daphne", "rest_framework.views") if name in sys.modules])
"""


def test_beat_which_only_names_what_is_due_loads_no_engine_and_no_pages():
    said = subprocess.run([sys.executable, "-c", WHAT_BEAT_DOES], cwd=ROOT, capture_output=True, text=True, check=True)

    assert said.stdout == "[]\n"
