"""What a reading passes on its way to the outbox: calibrate, check quality, derive, date; and disaggregation (nilm)."""
