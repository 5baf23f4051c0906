"""Who wants to know: subscriptions and the delivery of notifications (MIM1)."""
