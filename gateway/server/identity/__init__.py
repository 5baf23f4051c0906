"""Who may: token, cookie, host names, rules of listening."""
