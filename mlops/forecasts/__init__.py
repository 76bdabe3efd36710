"""Forecasts of the fleet: learnt as versions of the registry, asked for now or by schedule, held to what came."""
