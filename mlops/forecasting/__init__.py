"""How series go on, how sure that is, and how often it was right. Pure: no Django, no driver, no clock.

>>> from mlops.forecasting import Forecaster, panel_of
"""

from mlops.forecasting.fitting import Fitted, Forecaster
from mlops.forecasting.panel import CannotForecast, Panel, panel_of

__all__ = ["CannotForecast", "Fitted", "Forecaster", "Panel", "panel_of"]
