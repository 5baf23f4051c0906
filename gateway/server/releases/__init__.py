"""Models of appliances on their way to gateways: kept and handed out as they were signed."""
