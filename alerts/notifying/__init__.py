"""Who hears of an alert: the outbox, the routes that choose, the deliveries that are made until they arrive."""
